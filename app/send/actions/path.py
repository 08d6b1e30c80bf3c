"""The path of an action: text in quotes, fields and string functions, joined with `+`: `_id + '/messages'`.

The grammar is the one that journeys have for it
(https://experienceleague.adobe.com/en/docs/journey-optimizer/using/orchestrate-journeys/building-journeys/using-custom-actions),
its documentation's typographic quotes and its article included: `The _id + ’/messages’` is what one page prints.

    path   = term { "+" term }
    term   = text | whole number | field | function "(" path { "," path } ")" | "(" path ")"
    field  = "_id" | "event." name | "profile." name | "consent." name | name, of the event

Text in quotes is the operator's own and stays as it is. Whatever comes from a field is percent-encoded, slashes too,
and so is what any function but `concat` makes. So a value never begins a step, a query or a fragment of its own.
"""

import re
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from app.action import EVENT_FIELDS
from app.errors import BadInput, SendFailed
from app.send.actions.fields import Fields, NoValue, field_named
from app.send.actions.path_terms import FUNCTIONS, Piece, Term, joined, made, own, value
from app.send.template import Fill

_TOKEN = re.compile(
    r"""(?P<blank>\s+)
    |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[‘’](?:[^‘’\\]|\\.)*’|[“”„](?:[^“”\\]|\\.)*[“”])
    |(?P<number>\d+)
    |(?P<name>[A-Za-z_][\w.-]*)
    |(?P<sign>[+(),])""",
    re.DOTALL | re.VERBOSE,
)
#: what a URL cannot hold, what ends a path, and percent signs that a value behind them would complete
_NOT_IN_A_PATH = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}?#]|%(?![0-9A-Fa-f]{2})")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SLASH = re.compile(r"[/\\]")
#: parentheses within parentheses
_DEEPEST = 20
#: how many times over something may be percent-encoded until it is read as what it says
_DECODED = 4


class Path(NamedTuple):
    """A path, ready to be filled in."""

    fill: Fill[str]
    """Raises SendFailed where a value is missing, or would lead to another place."""
    fields: tuple[str, ...]
    """The full names of the fields in it."""


class _Token(NamedTuple):
    kind: str
    text: str
    at: int
    """The number of its first character, counted from 1."""


def path(text: str) -> Path:
    """The path that an expression makes. Raises BadInput that names the character."""
    reading = _Reading(_tokens(text))
    term = reading.joined()
    if reading.next.kind != "end":
        raise _fault(reading.next, "join what comes here with +")

    def fill(fields: Fields) -> str:
        try:
            return checked("".join(map(_encoded, term(fields))))
        except SendFailed as error:
            raise type(error)(f"path: {error}", permanent=True) from None

    _try_out(fill, reading.fields)
    return Path(fill, tuple(dict.fromkeys(reading.fields)))


def _try_out(fill: Fill[str], names: list[str]) -> None:
    """What fails with any values, fails at once."""
    sample: dict[str, dict[str, Any]] = {"event": {}, "profile": {}, "consent": {}}
    for name in names:
        root, _, rest = name.partition(".")
        sample[root][rest] = "0"
    try:
        fill(sample)
    except NoValue:  # a part of so short a text may be empty
        return
    except SendFailed as error:
        raise BadInput(str(error).replace("a value would lead", "this leads")) from None


def checked(filled: str) -> str:
    """The path. Raises SendFailed where one of its steps is `.` or `..` to any server, however it is encoded."""
    decoded = filled
    for _ in range(_DECODED):
        decoded = unquote(decoded)
    if any(step.partition(";")[0].strip(" \t\r\n\0") in {".", ".."} for step in _SLASH.split(decoded)):
        raise SendFailed("a value would lead to another path, for a step of it is . or ..", permanent=True)
    return filled


def _encoded(piece: Piece) -> str:
    return piece.text if piece.own else quote(piece.text, safe="", errors="replace")


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _fault(_Token("", "", at + 1), _unreadable(text[at]))
        if match.lastgroup != "blank":
            found.append(_Token(match.lastgroup or "", match.group(), at + 1))
        at = match.end()
    return [*_without_articles(found), _Token("end", "", len(text) + 1)]


def _unreadable(sign: str) -> str:
    if sign in "'\"‘’“”„":
        return f"the text that {sign} begins has no end; close it with the same sign"
    return f"{sign} has no meaning here; text stands in quotes, and + joins it with fields"


def _without_articles(tokens: list[_Token]) -> list[_Token]:
    """Without the article that a page of the documentation prints before a field: `The _id`."""
    following = [*tokens[1:], _Token("end", "", 0)]
    return [one for one, after in zip(tokens, following, strict=True) if not _is_article(one, after)]


def _is_article(one: _Token, after: _Token) -> bool:
    return one.text in {"The", "the"} and after.kind == "name"


def _fault(token: _Token, what: str) -> BadInput:
    return BadInput(f"path, character {token.at}: {what}")


def _literal(token: _Token, *, anything: bool) -> str:
    """The operator's own text. Raises BadInput for what no path can hold, unless it may be `anything`."""
    text = _ESCAPED.sub(r"\1", token.text[1:-1])
    if not anything and (found := _NOT_IN_A_PATH.search(text)):
        sign = found.group()
        mend = "parameters go into query" if sign in "?#" else f"write {quote(sign)}"
        raise _fault(token._replace(at=token.at + 1 + found.start()), f"{sign} cannot stand in a path; {mend}")
    return text


class _Reading:
    """Reads tokens from the left to the right."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0
        self._encoding = 0
        """How many of the functions around what is read make something that is percent-encoded."""
        self.fields: list[str] = []

    @property
    def next(self) -> _Token:
        """What comes."""
        return self._tokens[self._at]

    def joined(self) -> Term:
        """Terms with + between them."""
        terms = [self._term()]
        while self._passed("+"):
            terms.append(self._term())
        return joined(terms)

    def _passed(self, sign: str) -> bool:
        passed = self.next.kind == "sign" and self.next.text == sign
        self._at += passed
        return passed

    def _expect(self, sign: str, what: str) -> None:
        if not self._passed(sign):
            raise _fault(self.next, what)

    def _term(self) -> Term:
        token = self.next
        if self._passed("("):
            return self._within(token)
        self._at += token.kind in {"text", "number", "name"}
        match token.kind:
            case "text":
                return own(_literal(token, anything=self._encoding > 0))
            case "number":
                return own(token.text)
            case "name":
                return self._call(token) if self._passed("(") else self._field(token)
        raise _fault(token, "here a text in quotes, a field or a function should stand")

    def _within(self, token: _Token) -> Term:
        self._deeper(token)
        term = self.joined()
        self._expect(")", f"the ( of character {token.at} has no end; close it with )")
        self._depth -= 1
        return term

    def _deeper(self, token: _Token) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _fault(token, f"more than {_DEEPEST} parentheses within each other are not taken")

    def _field(self, token: _Token) -> Term:
        name = f"event.{token.text}" if token.text in EVENT_FIELDS else token.text
        try:
            full = field_named(name)
        except BadInput as error:
            raise _fault(token, str(error)) from None
        self.fields.append(full)
        return value(full)

    def _call(self, token: _Token) -> Term:
        function = FUNCTIONS.get(token.text)
        if function is None:
            raise _fault(token, f"there is no function '{token.text}'; there are {', '.join(FUNCTIONS)}")
        self._deeper(token)
        self._encoding += token.text != "concat"
        given = self._arguments(token)
        self._encoding -= token.text != "concat"
        self._depth -= 1
        if not function.least <= len(given) <= function.most:
            raise _fault(token, f"{token.text} is written {function.written}")
        return made(token.text, given)

    def _arguments(self, token: _Token) -> list[Term]:
        if self._passed(")"):
            return []
        given = [self.joined()]
        while self._passed(","):
            given.append(self.joined())
        self._expect(")", f"{token.text}( has no end; close it with ), and separate what is in it with commas")
        return given
