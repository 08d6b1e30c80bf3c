"""What a document system sends: who it is, by a header alone, and which action for which document.

Adobe Workfront's form (https://experienceleague.adobe.com/docs/workfront/using/adobe-workfront-api/document-webhooks-api/):
headers `apiKey` and `username`, or `Authorization: Bearer`. Its administrators may add parameters of their own to every
call, so unknown ones are let pass. A cookie, a parameter or a password that a browser keeps never counts.
"""

import re

from pydantic import Field
from starlette.datastructures import Headers

from app.record.tokens import Scope
from app.request import parse_pairs
from app.serve.documents import words
from app.serve.operation import Params
from app.serve.parts import Parts
from app.serve.problems import Problem

#: bytes of a query; a thousand times an id is none
QUERY_LIMIT = 8_192
_LONGEST = 255
_PARAMETERS = ("name", "documentId", "documentVersionId")
# Workfront's are 32 hexadecimal digits, others have dashes. The blank is there because the document's own example has
# one; a dot or dash never comes first, for an id may become part of a path.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:-]*")


class Forbidden(Exception):
    """403; the text is for whoever set the document system up."""


class Unusable(Exception):
    """A handled failure; the text names the parameter and the mend."""


class Asked(Params):
    """Which action, for which document, and for whom: that is only what the document system says of its user."""

    name: str = Field("", description="The action's, as /serviceInfo lists it.")
    document_id: str = Field("", alias="documentId", description="At most 255 characters.")
    version_id: str = Field("", alias="documentVersionId", description="At most 255 characters.")
    username: str = Field("", description="Who asks for it there.", json_schema_extra={"in": "header"})


async def prove(parts: Parts, scope: Scope, headers: Headers) -> None:
    """Raises Forbidden where no header brings a token with this scope (`admin` has every one)."""
    key = headers.get("apikey", "").strip()
    authorization = f"Bearer {key}" if key else headers.get("authorization", "")
    try:
        await parts.require(scope, authorization)
    except Problem as problem:
        raise Forbidden(_refusal(problem.status, authorization)) from None


def _refusal(status: int, authorization: str) -> str:
    if status == 403:
        return words.WRONG_SCOPE
    return words.WRONG_KEY if authorization.lower().startswith("bearer ") else words.FORBIDDEN


def asked(query: bytes, headers: Headers) -> Asked:
    """What is wanted. Raises Unusable."""
    if len(query) > QUERY_LIMIT:
        raise Unusable(f"The query is longer than {QUERY_LIMIT:,} bytes; nothing was done.")
    given = _given(query)
    missing = [name for name in _PARAMETERS if not given.get(name)]
    if missing:
        raise Unusable(f"The parameter {missing[0]} is missing, so nothing was done.")
    for name in _PARAMETERS[1:]:
        _check_id(name, given[name])
    return Asked.model_validate({**{name: given[name] for name in _PARAMETERS}, "username": _username(headers)})


def _given(query: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in parse_pairs(query.decode("latin-1")):
        if name in found and name in _PARAMETERS:
            raise Unusable(f"The parameter {name} is given twice, so nothing was done; give it once.")
        found[name] = value
    return found


def _check_id(name: str, value: str) -> None:
    if len(value) > _LONGEST:
        raise Unusable(f"The parameter {name} is longer than {_LONGEST} characters, so nothing was done.")
    if not _ID.fullmatch(value):
        raise Unusable(
            f"The parameter {name} is no id, so nothing was done: it may have letters, digits, blanks and . _ : - and"
            " begins with a letter or digit."
        )


def _username(headers: Headers) -> str:
    given = headers.get("username", "").encode("latin-1")
    try:
        name = given.decode("utf-8").strip()
    except UnicodeDecodeError:
        name = given.decode("latin-1").strip()
    if len(name) > _LONGEST or not name.isprintable():
        raise Unusable(f"The header username is no name of at most {_LONGEST} characters, so nothing was done.")
    return name
