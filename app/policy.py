"""What may leave, and about whom: labels on fields, and policies over them.

The labels' meanings are those of the vendor whose documents we follow: C1…C12 say what a contract forbids, I1 and I2
that a field identifies a person, S1 and S2 that it tells where they are; others are the operator's own
(https://experienceleague.adobe.com/en/docs/experience-platform/data-governance/labels/reference).
"""

from typing import Annotated

from pydantic import Field, model_validator

from app.action import MarketingAction
from app.spec import Spec
from app.webhook import NAME

Label = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
#: a field that can be labelled: `event.text`, `profile.email`, `consent.state`
FIELD = r"^(event|profile|consent)\.[A-Za-z_][A-Za-z0-9_.-]{0,63}$"


class Labels(Spec):
    """The labels of one field."""

    name: str = Field(pattern=FIELD)
    labels: list[Label] = Field(min_length=1, max_length=50)


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
