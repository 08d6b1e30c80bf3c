"""A streaming inlet that no crash reaches. `python -m tests.torture.inlet PORT LOG`.

It refuses what is no valid envelope, fails now and then with 503, takes only a part of some batches, and notes each event
that it took in LOG, one JSON object a line, before it answers: `{"_id", "type", "sequence"}`; a fault as `{"fault"}`.
"""

import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import httptools
import orjson
import uvloop

from tests.receivers import ENVELOPE, ORGANISATION

#: seconds until it answers, at most: a crash may fall into them
SLOWNESS = 0.03
#: shares of the requests that get 503, and of the messages that do in a 207
FAILS, FAILS_ALONE = 0.03, 0.002


class Inlet(asyncio.Protocol):
    """One keep-alive connection."""

    log: ClassVar[BinaryIO]

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.headers: dict[bytes, bytes] = {}

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if random.random() < FAILS:
            self.answer(503, {})
            return
        if self.headers.get(b"x-gw-ims-org-id") != ORGANISATION.encode():
            self.note({"fault": "no organisation in the header"})
        outcomes = [self.take(message) for message in json.loads(body)["messages"]]
        asyncio.get_running_loop().call_later(random.random() * SLOWNESS, self.answer, 207, {"responses": outcomes})

    def take(self, message: dict[str, Any]) -> dict[str, Any]:
        """The outcome of a message; what is taken is written down first."""
        if random.random() < FAILS_ALONE:
            return {"statusCode": 503, "message": "busy"}
        if faults := [error.message for error in ENVELOPE.iter_errors(message)]:
            self.note({"fault": faults[0]})
            return {"statusCode": 400, "message": faults[0]}
        entity = message["body"]["xdmEntity"]
        ours = entity["_textback"]
        self.note({"_id": entity["_id"], "type": ours["type"], "sequence": ours["sequence"]})
        return {"xactionId": message["header"]["xactionId"]}

    def note(self, line: dict[str, Any]) -> None:
        os.write(self.log.fileno(), orjson.dumps(line) + b"\n")

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = orjson.dumps(body)
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(data)) + data)


async def serve(port: int) -> None:
    """Listen until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Inlet, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    with Path(sys.argv[2]).open("ab") as Inlet.log:
        uvloop.run(serve(int(sys.argv[1])))
