"""A hash over the sorted parameters of query, form or flat JSON, which is itself one of them.

https://developer.vonage.com/en/getting-started/concepts/signing-messages. The account is set to one of the hashes.
"""

import hashlib
import hmac
import json
from functools import partial
from operator import itemgetter
from typing import Any

from app.authenticate.evidence import Verifier, matching, numbered
from app.authenticate.window import check_age, unix_seconds
from app.errors import Refused
from app.request import Pairs, Request, parse_pairs
from app.scheme import ParameterScheme

#: `&` and `=` in a value are signed as `_`
_HARMLESS = str.maketrans("&=", "__")


def verifier(scheme: ParameterScheme, secrets: tuple[bytes, ...]) -> Verifier:
    """Expects the hex digest as parameter `name`, in either case. Raises NotReady."""
    digest = _plain_md5 if scheme.hash == "md5hash" else partial(_keyed, scheme.hash)
    keys = numbered("parameter", secrets)

    def verify(request: Request) -> str:
        pairs = _parameters(request)
        given = _value(pairs, scheme.name).lower().encode("utf-8", "surrogatepass")
        text = _text(scheme.name, pairs)
        evidence = matching(given, ((digest(key, text), told) for key, told in keys))
        if evidence is None:
            raise Refused(f"parameter {scheme.name} does not match the others; check the secret and the scheme's hash")
        if scheme.window is not None:
            _check_time(scheme, request, _value(pairs, scheme.timestamp), scheme.window)
        return evidence

    return verify


def _plain_md5(key: bytes, text: bytes) -> bytes:
    # the provider's algorithm, and its weakness; the keyed hashes are the better setting
    return hashlib.md5(text + key, usedforsecurity=False).hexdigest().encode()


def _keyed(name: str, key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, name).hex().encode()


def _check_time(scheme: ParameterScheme, request: Request, told: str, window: int) -> None:
    what = f"parameter {scheme.timestamp}"
    check_age(request, what, unix_seconds(what, told), window)


def _text(name: str, pairs: Pairs) -> bytes:
    """`&name=value` of each but the signature, sorted by name."""
    others = sorted((pair for pair in pairs if pair[0] != name), key=itemgetter(0))
    # a name with these in it could swallow its neighbours and leave the text as it was
    if any("&" in other or "=" in other for other, _ in others):
        raise Refused("a parameter has & or = in its name, which the signature cannot tell from two parameters")
    text = "".join(f"&{other}={value.translate(_HARMLESS)}" for other, value in others)
    return text.encode("utf-8", "surrogatepass")


def _value(pairs: Pairs, name: str) -> str:
    for given, value in pairs:
        if given == name and value:
            return value
    raise Refused(f"parameter {name} is missing or empty")


# --- where the parameters stand -----------------------------------------------------------------------------------


def _parameters(request: Request) -> Pairs:
    """Those of the body; of the query where there is no body."""
    if not request.body:
        return parse_pairs(request.query)
    if request.is_json:
        return _of_json(request.body)
    if request.form:
        return request.form
    raise Refused("the body is neither a form nor a JSON object, so it holds no signed parameters")


def _of_json(body: bytes) -> Pairs:
    """Texts, and numbers with the very digits that were sent."""
    pairs: list[Any]
    if not body.startswith(b"{"):
        raise Refused("the body is a JSON array, which holds no parameters")
    try:
        pairs = json.loads(body, object_pairs_hook=list, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise Refused("the body is not JSON") from None
    if not all(isinstance(value, str) for _, value in pairs):
        raise Refused("the body has a value that is neither text nor number, so no text can be made of it")
    return pairs
