"""What every part of a provider file or of an operator's input has in common; and the conditions that many have."""

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A part of a provider file or of an operator's input: frozen, and closed against misspelt names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


#: path -> true (present and not empty), false (absent or empty), a text, or a list of texts (equal, ignoring case);
#: all of it must hold. In `events` and `status_rules` a text that ends with * is a beginning: text/plain*
Condition = dict[str, bool | str | list[str]]
#: several conditions, of which one must hold
When = Condition | list[Condition]
