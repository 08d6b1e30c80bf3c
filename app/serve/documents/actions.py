"""Custom actions of a document: `/serviceInfo` lists them to anybody, `/customAction` runs one.

The form is Adobe Workfront's, of its document webhooks 1.2: `{"status":"success"}`, or `{"status":"failure","error":…}`
with a sentence that its user is shown
(https://experienceleague.adobe.com/docs/workfront/using/adobe-workfront-api/document-webhooks-api/perform-custom-action).
"""

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field
from starlette.routing import BaseRoute, Route

from app import metrics
from app.record.tokens import Scope
from app.serve.documents import words
from app.serve.documents.door import Door, Failure, Success
from app.serve.documents.request import Asked
from app.serve.documents.run import Ran, run_once
from app.serve.operation import Call, Operation, Params

#: of the vendor's specification
WEBHOOK_VERSION = "1.2"
#: of these two endpoints, not of textback: which release runs here is nobody's business
VERSION = "1.0"
PUBLISHER = "textback"


class Offer(BaseModel):
    """An action that can be run."""

    name: str
    displayName: str = Field(description="As people see it there.")  # noqa: N815 - the vendor's word


class ServiceInfo(BaseModel):
    """What there is, as the vendor asks for it."""

    webhookVersion: str = WEBHOOK_VERSION  # noqa: N815
    version: str = VERSION
    publisher: str = PUBLISHER
    availableEndpoints: list[Literal["serviceInfo", "customAction"]] = ["serviceInfo", "customAction"]  # noqa: N815
    customActions: list[Offer]  # noqa: N815


async def service_info(call: Call[Params, None]) -> ServiceInfo:
    """Names alone: where an action goes, what it sends and which release this is stay here."""
    return ServiceInfo(customActions=[Offer(name=name, displayName=shown) for name, shown in call.parts.offered.names])


async def custom_action(call: Call[Asked, None]) -> Success | Failure:
    """Run it, or tell what became of the same one a moment ago."""
    wanted, offered = call.params, call.parts.offered.get(call.params.name)
    if offered is None:
        metrics.DOCUMENT_ACTIONS.labels("unknown").inc()
        return Failure(error=words.UNKNOWN)
    ran = await run_once(call.parts, offered, _event(wanted))
    metrics.DOCUMENT_ACTIONS.labels(ran.outcome if ran.here else "repeated").inc()
    return _told(ran)


def _event(wanted: Asked) -> dict[str, str]:
    """The fields of `app.action`, but for `_id`."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"type": "document", "received_at": at, **wanted.model_dump(by_alias=True)}


def _told(ran: Ran) -> Success | Failure:
    if ran.outcome == "success":
        return Success()
    return Failure(error=words.sentence(ran.outcome, ran.policy, ran.call_id))


_FAILS = {500: "The database is away, or a fault of ours."}
_SERVICE_INFO = Operation(
    "GET", "/serviceInfo", "The document actions, for a document system", service_info, None, ServiceInfo,
    problems=_FAILS, failure=Failure,
)  # fmt: skip
_CUSTOM_ACTION = Operation(
    "GET",
    "/customAction",
    "Run a document action; the same one again within `document_window` seconds is answered as it was, and not run",
    custom_action,
    Scope.DOCUMENT,
    Success | Failure,
    params=Asked,
    problems={403: "No key, an unknown one, or one without the scope.", **_FAILS},
    failure=Failure,
)
OPERATIONS = (_SERVICE_INFO, _CUSTOM_ACTION)

# The vendor appends the endpoint to whatever base its administrator enters. The document's own example has /webhooks as
# the base, and customName where its text says customAction; so both are heard.
_BASES = ("", "/webhooks")


def routes() -> list[BaseRoute]:
    """Of both, and of all beneath them, so that what is wrong there is told in the same form."""
    info, action = Door(_SERVICE_INFO, ("GET", "HEAD")), Door(_CUSTOM_ACTION, ("GET",))
    doors = {"/serviceInfo": info, "/customAction": action}
    found = [Route(base + path, door) for base in _BASES for path, door in doors.items()]
    beneath = [Route(f"{base}{path}/{{rest:path}}", Door(None, ())) for base in _BASES for path in doors]
    return [*found, Route("/webhooks/customName", action), *beneath]
