"""The body of an outgoing request: a form, JSON, XML or plain text. What is around a value is fixed before it comes."""

import re
from typing import Any
from urllib.parse import quote_plus
from xml.etree.ElementTree import Element, ParseError

import orjson
from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from app.errors import BadInput
from app.send.template import (
    LEFT_OUT,
    Fill,
    Known,
    Part,
    Values,
    as_text,
    form_encoded,
    joined,
    json_template,
    leaf,
    may_be_left_out,
    text_parts,
    words_for_places,
)
from app.sending import Send

_TYPES = {
    "form": "application/x-www-form-urlencoded",
    "json": "application/json",
    "xml": "application/xml",
    "text": "text/plain",
}

#: what XML 1.0 cannot hold at all, not even escaped (https://www.w3.org/TR/xml/#charsets)
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: line ends and tabs too, since a reader turns them into blanks in an attribute (https://www.w3.org/TR/xml/#AVNormalize)
_XML = str.maketrans({sign: f"&#{ord(sign)};" for sign in "&<>\"'\t\n\r"})
_OTHER_ENCODING = re.compile(r"""\s*<\?xml[^>]*\sencoding\s*=\s*["'](?!utf-?8["'])""", re.IGNORECASE)


def body(rules: Send, known: Known) -> tuple[str, Fill[bytes]]:
    """The content type, and the function that makes the body. Raises BadInput for one that could never be sent."""
    given = {"form": rules.form, "json": rules.json_body is not None, "xml": rules.xml, "text": rules.text}
    kinds = [kind for kind, value in given.items() if value] or ["form"]
    if len(kinds) > 1:
        raise BadInput(f"a request has one body: either a form or json, xml or text, and not {' and '.join(kinds)}")
    (kind,) = kinds
    if rules.method == "GET" and kind != "form":
        raise BadInput(f"a GET has no {kind}, it has no body; say method POST, or give a form, which is its query")
    return _TYPES[kind], _made(kind, rules, known)


def _made(kind: str, rules: Send, known: Known) -> Fill[bytes]:
    if kind == "json":
        return _json(rules.json_body, known)
    if rules.method == "GET":
        return lambda _: b""
    fill = _written(kind, rules, known)
    return lambda values: fill(values).encode("utf-8", "replace")


def _written(kind: str, rules: Send, known: Known) -> Fill[str]:
    if kind == "form":
        return form(rules.form, known)
    return _xml(rules.xml, known) if kind == "xml" else joined(text_parts(rules.text, known))


def form(fields: dict[str, str], known: Known) -> Fill[str]:
    """The fields of a form or a query."""
    parts: list[Part] = []
    for name, text in fields.items():
        start = f"&{quote_plus(name)}="
        if may_be_left_out(text):
            parts.append(_optional_field(start, text, known))
        else:
            parts += [start, *text_parts(text, known, form_encoded, form_encoded)]
    fill = joined(parts)
    return lambda values: fill(values)[1:]


def _optional_field(start: str, text: str, known: Known) -> Fill[str]:
    fill = leaf(text, known)

    def field(values: Values) -> str:
        value = fill(values)
        return "" if value is LEFT_OUT else start + form_encoded(as_text(value))

    return field


def _json(node: Any, known: Known) -> Fill[bytes]:
    try:
        orjson.dumps(node)
    except orjson.JSONEncodeError as error:
        raise BadInput(f"the json body cannot be sent: {error}") from None
    fill = json_template(node, known)
    # a body that nothing is left of is empty, and yet a body
    return lambda values: orjson.dumps({} if (found := fill(values)) is LEFT_OUT else found)


def xml_escaped(value: str) -> str:
    """A value as it stands in a text or an attribute; what XML cannot hold is dropped."""
    return _NO_XML.sub("", value).translate(_XML)


def _xml(text: str, known: Known) -> Fill[str]:
    """Filled as text, so that the operator's own spelling is kept; where a value may stand, the parsed tree says."""
    replaced, word, names = words_for_places(text)
    found = sum(value.count(word) for element in _parsed(replaced).iter() for value in _held(element))
    if found != len(names):
        raise BadInput("xml: placeholders stand in texts and in quoted attributes only, not in names or comments")
    return joined(text_parts(text, known, xml_escaped))


def _parsed(text: str) -> Element:
    if "<![CDATA[" in text or _OTHER_ENCODING.match(text):
        raise BadInput("xml: write it in UTF-8, and without CDATA; values are escaped as they are filled in")
    try:
        root: Element = fromstring(text.encode(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, UnicodeEncodeError) as error:
        raise BadInput(f"xml: this is not well-formed: {error}") from None
    return root


def _held(element: Element) -> list[str]:
    return [element.text or "", element.tail or "", *element.attrib.values()]
