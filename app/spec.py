"""What every part of a provider file or of an operator's input has in common."""

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """A part of a provider file or of an operator's input: frozen, and closed against misspelt names."""

    model_config = ConfigDict(extra="forbid", frozen=True)
