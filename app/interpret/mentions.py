"""Which fields an expression mentions, as far as its text shows. Pure.

It is for telling an operator before anything is saved, and tells rather too much: a word that equals a field's name
counts wherever it stands, and a whole (`profile.*`, `$keys(profile)`, `$lookup(profile, "em" & "ail")`, `$$`) counts as
each of its fields, for a name that is computed stands nowhere. At run time the projection holds, see `governance`.
"""

import re
from collections.abc import Iterable, Iterator, Set
from typing import Literal, NamedTuple

from app.expression import tokens

#: a place of a template that is nothing but a name, in which a hyphen subtracts nothing
_PLAIN = re.compile(r"(?:event|profile|consent)\.[A-Za-z_][\w.-]*")
_ESCAPE = re.compile(r"\\(u[0-9A-Fa-f]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
#: what reads all that is there unless it is given this many arguments, or is called by another name
_OF_THE_CONTEXT = {
    "$string": 1, "$keys": 1, "$spread": 1, "$clone": 1, "$boolean": 1, "$not": 1, "$lookup": 2, "$sift": 2, "$each": 2,
}  # fmt: skip
#: names that are operators behind a value
_OPERATORS = frozenset({"and", "or", "in"})


class _Word(NamedTuple):
    """A token that is no blank."""

    kind: Literal["name", "text", "sign"]
    """A text is a name too where it is a step of a path."""
    value: str


_END = _Word("sign", "")


def mentioned(texts: Iterable[str], *, known: Iterable[str]) -> set[str]:
    """The known fields (`profile.email`) that these expressions mention.

    Of a template, give what stands in its places (`{{…}}`): of the words around them each would count.
    """
    fields = frozenset(known)
    return {field for text in texts for field in _mentioned(text.strip(), fields)}


def named(texts: Iterable[str], *, known: Iterable[str]) -> set[str]:
    """Those of them that are mentioned by their own name, and not just as part of a whole."""
    expressions = list(texts)
    return {field for field in known if _has_name(expressions, field)}


def _has_name(texts: Iterable[str], field: str) -> bool:
    parts = _parts(field)
    words = (word.value for text in texts for word in _words(text))
    return not parts.isdisjoint(words) or any(field in text for text in texts)


def _mentioned(text: str, known: Set[str]) -> Iterator[str]:
    if "-" in text and _PLAIN.fullmatch(text):
        yield from (field for field in known if _is_at(text, field))
        return
    yield from (field for field in known if _stands_in(field, text))
    words = list(_words(text))
    at = 0
    while at < len(words):
        taken, found = _at(words, at, known)
        yield from found
        at += taken


def _at(words: list[_Word], at: int, known: Set[str]) -> tuple[int, Iterable[str]]:
    """How many words belong to what stands here, and the fields that it means."""
    word, dot, step = words[at], _word(words, at + 1), _word(words, at + 2)
    if _is_root(words, at, known):
        inside = [field for field in known if field.startswith(f"{word.value}.")]
        if dot.value == "." and step.kind != "sign":
            path = f"{word.value}.{step.value}"
            return 3, (field for field in inside if _is_at(path, field))
        if (dot.value, step.value) == (".", "("):
            return 1, ()  # between parentheses names stand by themselves, and are found there
        return (3 if step.value == "*" else 1), inside
    if word.kind != "sign":
        return 1, (field for field in known if word.value in _parts(field))
    return 1, known if _is_everything(words, at) else ()


def _is_root(words: list[_Word], at: int, known: Set[str]) -> bool:
    word = words[at]
    if not any(field.startswith(f"{word.value}.") for field in known):
        return False
    dotted = "." in (_word(words, at - 1).value, _word(words, at + 1).value)
    return word.kind == "name" or (word.kind == "text" and dotted)


def _is_everything(words: list[_Word], at: int) -> bool:
    """`$`, `$$`, `*`, `**` or `%` in the place of a value, but not `$.name`; and functions that read the context."""
    before, sign, after = _word(words, at - 1), words[at].value, _word(words, at + 1)
    if sign == "$":
        return after.value != "$" and not (after.value == "." and _word(words, at + 2).kind != "sign")
    if sign in {"*", "%"}:
        return not _is_operand(before)
    if sign == ")" and after.value == "<":  # a function's signature, or a comparison: `<o-:x>` reads the context
        return any(word.value in {"function", "λ"} for word in words[:at])
    needed = _OF_THE_CONTEXT.get(sign, 0)
    return needed > 0 and (before.value == "=" or (after.value == "(" and _arguments(words, at + 2) < needed))


def _is_operand(before: _Word) -> bool:
    if before.kind == "name":
        return before.value not in _OPERATORS
    return before.kind == "text" or before.value in {")", "]", "}", "*"} or before.value.startswith("$")


def _arguments(words: list[_Word], at: int) -> int:
    """How many stand from here to the closing parenthesis."""
    depth, commas, first = 0, 0, at
    while at < len(words) and (depth or words[at].value != ")" or words[at].kind != "sign"):
        if words[at].kind == "sign":
            depth += (words[at].value in {"(", "[", "{"}) - (words[at].value in {")", "]", "}"})
            commas += not depth and words[at].value == ","
        at += 1
    return commas + 1 if at > first else 0


def _word(words: list[_Word], at: int) -> _Word:
    return words[at] if 0 <= at < len(words) else _END


def _words(text: str) -> Iterator[_Word]:
    for kind, token in tokens(text):
        if kind == "operand" and token[0] in "'\"":
            yield _Word("text", _ESCAPE.sub(_unescaped, token[1:-1]))
        elif kind == "operand" and token[0] != "$":
            yield _Word("name", token.strip("`"))
        elif kind == "regex":  # it may be two divisions, by a field of the name of an operator
            yield from _words(token[1:-1])
        elif kind != "blank":
            yield _Word("sign", token)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code)


def _is_at(path: str, field: str) -> bool:
    """Whether a dotted path leads to the field, above it or into it."""
    return f"{field}.".startswith(f"{path}.") or path.startswith(f"{field}.")


def _stands_in(field: str, text: str) -> bool:
    return re.search(rf"(?<![\w$]){re.escape(field)}(?![\w-])", text) is not None


def _parts(field: str) -> Set[str]:
    """The names by which a field can be meant: its own, and with dots in it, each of them."""
    name = field.partition(".")[2]
    return {name, *name.split(".")}
