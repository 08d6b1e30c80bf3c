"""How a message is sent through a provider: the outgoing request, and what its answer means."""

from typing import Any, Literal

from pydantic import Field

from app.credential import MacRecipe
from app.spec import Condition, Spec


class Send(Spec):
    """The outgoing request. The places of a template, filled in leaf by leaf so that no character of a message can
    break out of its value: `{{fromNumber}} {{toNumber}} {{message}} {{messageReference}} {{appId}}`, `{{profile.name}}`
    of the person, `{{parameters.name}}` of the credential, `{{feedbackUrl}}`, for RCS `{{suggestions}}` (a list) and
    `{{fallback}}`, or a JSONata expression over these: `{{$uppercase(profile.firstName)}}`. A leaf that is nothing but
    one of the last four (feedbackUrl, suggestions, fallback, an expression) is left out where it has no value, and so
    is an object in JSON that nothing is left of.
    """

    #: empty: it has something of the account in it, so the credential must give its own
    url: str
    method: Literal["POST", "GET", "PUT"] = "POST"
    headers: dict[str, str] = {}
    # the body: one of form (the query of a GET), json, xml and text
    form: dict[str, str] = {}
    json_body: dict[str, Any] | list[Any] | None = Field(None, alias="json")
    xml: str = ""
    text: str = ""
    #: dotted path of the message id in the answer; empty: the answer names none, and our reference is the id
    id: str = ""
    #: regular expression over an answer that is plain text; its first group is the id
    id_pattern: str = ""
    #: dotted path of the error code in an answer. An answer with status 2xx that is neither accepted nor has a code is
    #: taken for one that the message may have left with
    code: str = ""
    #: regular expression over an answer that is plain text; its first group is the code
    code_pattern: str = ""
    #: the codes that mean: this person has opted out
    blocked_codes: list[str] = []
    #: codes of refusals that no second try can change
    permanent_codes: list[str] = []
    #: answers with status 2xx count as taken only when all of this holds in their body
    accepted: Condition = {}
    #: and when this regular expression is found in it, for plain text
    accepted_pattern: str = ""
    #: auth types that the provider takes
    auth: list[str] = []
    #: how a credential's auth is written, where its type does not say it all
    auth_example: str = ""
    #: how auth of type mac signs, for a provider that has a way of its own
    mac: MacRecipe | None = None
    #: the provider refuses a second message with the same reference or key, so a doubtful send may be repeated
    idempotent: bool = False
    #: cut the plus from numbers
    strip_plus: bool = False
