"""Base64 HMAC-SHA256 over URL, parameters and a nonce (V3), or over URL and nonce alone (V2).

https://www.plivo.com/docs/messaging/concepts/signature-validation. `-Ma-` headers are signed with the main account's
auth token, the others with that of the subaccount that owns the number: which one fits depends on whose token the
webhook has. A header may hold several signatures. There is no timestamp; repeats are known by the message's id.
"""

import hmac

from app.authenticate.evidence import Verifier, digest_shape, encode, header, matching_any, numbered
from app.errors import Refused
from app.request import Request, parse_pairs
from app.scheme import PlivoScheme

_V3 = ("x-plivo-signature-ma-v3", "x-plivo-signature-v3")
_V2 = ("x-plivo-signature-ma-v2", "x-plivo-signature-v2")
_SHAPE = digest_shape("base64", 32)


def verifier(scheme: PlivoScheme, secrets: tuple[bytes, ...]) -> Verifier:
    """Expects a V3 signature; where none came and the scheme allows it, one of V2. Raises NotReady."""
    keys, weak_keys = numbered("plivo", secrets), numbered("plivo v2", secrets)

    def verify(request: Request) -> str:
        if any(name in request.headers for name in _V3):
            return _proved(request, _V3, keys, _text(request))
        if not any(name in request.headers for name in _V2):
            raise Refused(f"headers {' and '.join(_V3)} are missing")
        if not scheme.v2:
            raise Refused("only a V2 signature came, which covers neither query nor body; `v2 = true` would believe it")
        text = _bare_url(request) + _nonce(request, "x-plivo-signature-v2-nonce")
        return _proved(request, _V2, weak_keys, text)

    return verify


def _proved(request: Request, names: tuple[str, str], keys: list[tuple[bytes, str]], text: str) -> str:
    given = [piece.strip() for name in names if name in request.headers for piece in header(request, name).split(b",")]
    signed = text.encode("utf-8", "surrogatepass")
    evidence = matching_any(given, ((encode(hmac.digest(key, signed, "sha256"), "base64"), told) for key, told in keys))
    if evidence is not None:
        return evidence
    if not any(map(_SHAPE.pattern.fullmatch, given)):
        raise Refused(f"no signature in {' and '.join(names)} is {_SHAPE.words}")
    raise Refused("signature does not match URL, parameters and nonce; check PUBLIC_URL and the auth token")


def _text(request: Request) -> str:
    """The canonical form: URL, sorted query, sorted form, nonce."""
    query = "&".join(map("=".join, sorted(parse_pairs(request.query))))
    form, nonce = _form(request), _nonce(request, "x-plivo-signature-v3-nonce")
    between = "." if query and request.form else ""
    parameters = f"?{query}{between}{form}" if query or request.form else ""
    return f"{_bare_url(request)}{parameters}.{nonce}"


def _form(request: Request) -> str:
    """Names and values, sorted by name and then by value, one behind the other."""
    if request.body and (request.method == "GET" or not request.form):
        raise Refused("there is a body that is not a form of a POST, and the signature does not cover it")
    return "".join(map("".join, sorted(request.form)))


def _bare_url(request: Request) -> str:
    return request.url.partition("?")[0]


def _nonce(request: Request, name: str) -> str:
    """With a dot in it, the end of a parameter could be passed off as a part of the nonce."""
    nonce = header(request, name)
    if b"." in nonce:
        raise Refused(f"header {name} has a dot in it")
    return nonce.decode("latin-1")
