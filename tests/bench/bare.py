"""The ceiling: Starlette that reads the body and answers 200. No work is done."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def ok(request: Request) -> Response:
    await request.body()
    return Response(b"<Response/>", media_type="text/xml")


app = Starlette(routes=[Route("/in/{token}", ok, methods=["POST"])])
