"""What an operator registers to be called: a custom action, which is one request to any REST API; and hosts' limits.

A text with places (`{{event.text}}`, or JSONata over the fields) is a variable, one without is a constant. The fields:

| place | what it is |
| --- | --- |
| `_id` | the event's own id, the same for every try; also `event._id` |
| `event.…` | type (inbound, receipt, document), program, webhook, provider, address, received_at |
| `event.…` of an inbound message | text, normal, category, keyword, sender, channel, provider_id |
| `event.…` of a receipt | status, provider_status, code, error_text, message_id, sender |
| `event.…` of a document | documentId, documentVersionId, name, username |
| `profile.…` | the person's attributes |
| `consent.…` | state, since, cause, may_send: how the person stands when the call is made |
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from app.credential import Auth, ClientCertificate, HeaderName, NoAuth
from app.spec import Spec
from app.webhook import NAME

#: of a purpose for which data leaves, such as `advertising`
MarketingAction = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$")]
#: the event's fields, whatever kind of event it is, in the order of the table above
EVENT_FIELDS = (
    "_id", "type", "program", "webhook", "provider", "address", "received_at",
    "text", "normal", "category", "keyword", "sender", "channel", "provider_id",
    "status", "provider_status", "code", "error_text", "message_id",
    "documentId", "documentVersionId", "name", "username",
)  # fmt: skip
CONSENT_FIELDS = ("state", "since", "cause", "may_send")
#: what a call can end with, beside `http_<status>`
ENDINGS = ("timedout", "capped", "internalError", "excluded")


class Action(Spec):
    """One request to a third party."""

    name: str = Field(pattern=NAME)
    description: str = ""
    #: the part of the address that never changes
    url: str = Field(min_length=1, max_length=2_048)
    #: the rest of it, an expression: `_id + '/messages'`
    path: str = Field("", max_length=2_048)
    method: Literal["GET", "POST", "PUT"] = "POST"
    headers: dict[HeaderName, str] = Field({}, max_length=20)
    query: dict[str, str] = Field({}, max_length=50)
    #: the JSON body; a text leaf that is nothing but a place keeps its value's type
    payload: dict[str, Any] | list[Any] | None = None
    #: places of `payload`, `query.name` or `headers.name` that are left out where there is no value
    optional: list[str] = []
    #: places of `payload` that are null where there is no value
    nullable: list[str] = []
    auth: Auth = NoAuth()
    client_certificate: ClientCertificate | None = None
    #: seconds for all tries together
    timeout: float = Field(10, ge=1, le=30)
    #: further tries, for what may pass; a 401, 403 or 404 is never tried again
    retries: int = Field(2, ge=0, le=3)
    #: a success answer of the third party, by which `{{action.field}}` in replies is checked
    response: Any = None
    #: an answer of it where it fails
    error_response: Any = None
    #: what the data is used for there; policies are about these
    marketing_actions: list[MarketingAction] = []
    #: its name in the document system, where it is offered there
    document: str | None = Field(None, min_length=1, max_length=128)

    @model_validator(mode="after")
    def _a_get_has_no_body(self) -> "Action":
        if self.method == "GET" and self.payload is not None:
            raise ValueError("a GET has no payload; say method POST or PUT, or put the values into query")
        return self


class Cap(Spec):
    """How often a host may be called by one process; beyond it, calls end as `capped`."""

    #: the host, with its port where it has one
    name: str = Field(pattern=r"^[a-z0-9.-]{1,253}(:[0-9]{1,5})?$")
    calls: int = Field(ge=1, le=10_000_000)
    #: in so many seconds
    per: float = Field(1, gt=0, le=3_600)
