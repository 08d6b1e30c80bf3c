"""What may leave, and about whom: labels on fields, and policies over them.

The labels' meanings are those of the vendor whose documents we follow: C1…C12 say what a contract forbids, I1 and I2
that a field identifies a person, S1 and S2 that it tells where they are; others are the operator's own
(https://experienceleague.adobe.com/en/docs/experience-platform/data-governance/labels/reference).
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator, model_validator

from app import action
from app.action import MarketingAction
from app.spec import Spec
from app.webhook import NAME

#: the vendor's labels, C1 to S2
CORE_LABELS = frozenset({*(f"C{number}" for number in range(1, 13)), "I1", "I2", "S1", "S2"})
_LIKE_THE_VENDOR_S = re.compile(r"[CIScis][0-9]+")


def _label(value: str) -> str:
    if value not in CORE_LABELS and _LIKE_THE_VENDOR_S.fullmatch(value):
        raise ValueError(
            f"'{value}' looks like one of the vendor's labels, which are C1 to C12, I1, I2, S1 and S2, and is none;"
            f" write that one, or give a label of your own another form, such as own-{value}"
        )
    return value


Label = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$"), AfterValidator(_label)]
#: a field that can be labelled: `event.text`, `profile.email`, `consent.state`
FIELD = r"^(event|profile|consent)\.[A-Za-z_][A-Za-z0-9_.-]{0,63}$"
#: what an event can have, and what is told of consent; attributes of a person have any name
EVENT_FIELDS = frozenset(
    {
        *action.EVENT_FIELDS,
        # of what a stream tells beside these
        *("sequence", "effective_at", "provider_time", "account", "part", "raised"),
        *("old_state", "new_state", "superseded", "cause", "rule", "list_version", "actor", "reason"),
    }
)
CONSENT_FIELDS = frozenset(action.CONSENT_FIELDS)


class Labels(Spec):
    """The labels of one field."""

    name: str = Field(json_schema_extra={"pattern": FIELD})
    labels: list[Label] = Field(min_length=1, max_length=50)

    @field_validator("name")
    @classmethod
    def _is_one_field(cls, value: str) -> str:
        if not re.fullmatch(FIELD, value):
            raise ValueError(
                f"'{value[:80]}' is no field; name one, such as event.text, profile.email or consent.state (there is no"
                " label for all of profile: a violation must be able to name the field; _id is event._id)"
            )
        return value


class Policy(Spec):
    """What holds for marketing actions: either fields that may not leave, or people who are left out."""

    name: str = Field(pattern=NAME)
    description: str = ""
    #: none: every use, also one that names no marketing action
    marketing_actions: list[MarketingAction] = []
    #: governance: fields with one of these labels do not leave
    deny: list[Label] = []
    #: consent: JSONata over event, profile and consent; whoever it is not true of is left out
    require: str | None = Field(None, min_length=1, max_length=4_000)

    @model_validator(mode="after")
    def _does_one_thing(self) -> "Policy":
        if bool(self.deny) == (self.require is not None):
            raise ValueError("a policy either denies labels (deny) or requires something of the person (require)")
        return self
