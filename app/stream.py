"""What an operator registers to be told of everything that is heard: a stream of events to a URL of somebody else's."""

from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from app.action import MarketingAction
from app.credential import Auth, ClientCertificate, HeaderName, NoAuth
from app.spec import Spec
from app.webhook import NAME

Source = Literal["consent", "inbound", "receipt"]
SOURCES: tuple[Source, ...] = ("consent", "inbound", "receipt")


class Stream(Spec):
    """Events as XDM entities into a streaming inlet, or as CloudEvents to any URL."""

    name: str = Field(pattern=NAME)
    description: str = ""
    url: str = Field(min_length=1, max_length=2_048)
    format: Literal["xdm", "cloudevents"] = "cloudevents"
    events: list[Source] = Field(list(SOURCES), min_length=1)
    headers: dict[HeaderName, str] = Field({}, max_length=20)
    auth: Auth = NoAuth()
    client_certificate: ClientCertificate | None = None
    #: events in one request; 1: each by itself
    batch: int = Field(100, ge=1, le=1_000)
    #: seconds for one request
    timeout: float = Field(10, ge=1, le=60)
    #: what the data is used for there; policies are about these
    marketing_actions: list[MarketingAction] = []
    #: events from before it was registered are sent too
    from_the_beginning: bool = False

    # format "cloudevents"
    #: signs each request by Standard Webhooks; `whsec_…`, two while it is rotated
    secret: SecretStr | list[SecretStr] | None = None
    #: the CloudEvents attribute `source`
    source: str = "textback"

    # format "xdm"
    #: `XXX@AdobeOrg`, for the header x-gw-ims-org-id and the envelope
    organisation: str = ""
    #: id of the XDM schema
    schema_id: str = ""
    schema_content_type: str = "application/vnd.adobe.xed-full+json;version=1"
    dataset: str = ""
    #: the field group of the tenant that our fields stand in
    tenant: str = Field("_textback", pattern=r"^_[A-Za-z0-9_]{1,63}$")
    #: `_experience.campaign.orchestration.eventID`
    event_id: str = ""

    @field_validator("events")
    @classmethod
    def _each_once(cls, value: list[Source]) -> list[Source]:
        if len(set(value)) < len(value):
            raise ValueError("each of them is named once")
        return value

    @model_validator(mode="after")
    def _has_what_its_format_needs(self) -> "Stream":
        missing = [name for name in ("organisation", "schema_id") if not getattr(self, name)]
        if self.format == "xdm" and missing:
            raise ValueError(f"format xdm needs {' and '.join(missing)}")
        if self.format == "xdm" and self.secret is not None:
            raise ValueError("secret signs cloudevents; an inlet of format xdm is proved by auth")
        if isinstance(self.secret, list) and not 1 <= len(self.secret) <= 4:
            raise ValueError("secret: one, or up to four of them while they are rotated")
        return self
