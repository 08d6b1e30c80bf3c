"""Base64 HMAC-SHA1 over the public URL and the form, in header x-twilio-signature.

https://www.twilio.com/docs/usage/webhooks/webhooks-security; SignalWire does the same, but for names that come several
times: https://developer.signalwire.com/guides/webhook-security. There is no timestamp and no nonce; repeats are known
by the message's id. This runs for every request, before anything is believed: microseconds count.
"""

import hmac
import re
from collections.abc import Callable, Iterator
from hashlib import sha256
from operator import itemgetter

from app.authenticate.evidence import Verifier, digest_shape, encode, header, matching, numbered
from app.errors import Refused
from app.request import Pairs, Request, parse_pairs
from app.scheme import TwilioScheme

_SHAPE = digest_shape("base64", 20)
_PORTS = {"https": ":443", "http": ":80"}
_URL = re.compile(r"(https?)(://(?:[^/?#@]*@)?(?:\[[^]/?#]*\]|[^/?#:]*))(:\d*)?((?:[/?#].*)?)", re.DOTALL)
#: scheme, host and what stands before the token; user and password, token and query are left out
_SHOWN = re.compile(r"(https?://)(?:[^/?#]*@)?([^/?#]*)((?:/[^?#]*?)??/in/)?")

#: a keyed hash that waits for its message, with the evidence to give when it fits
Key = tuple[hmac.HMAC, str]


def verifier(scheme: TwilioScheme, secrets: tuple[bytes, ...]) -> Verifier:
    """Expects the signature of URL and sorted form, or, for a JSON body, of a URL that holds the body's hash."""
    name, joined = scheme.header.lower(), _JOINED[scheme.repeats]
    # copying a keyed hash costs two thirds of making one
    keys = [(hmac.new(secret, digestmod="sha1"), evidence) for secret, evidence in numbered("twilio", secrets)]

    def verify(request: Request) -> str:
        given = header(request, name)
        form = _signed_form(request, joined)
        evidence = matching(given, _signatures(keys, request.url, form))
        if evidence is None:
            raise Refused(_reason(name, given, request.url, form))
        return evidence

    return verify


def _signatures(keys: list[Key], url: str, form: str) -> Iterator[tuple[bytes, str]]:
    """What may have been sent, the likeliest first: computed only as far as somebody asks."""
    for candidate in _urls(url):
        text = (candidate + form).encode("utf-8", "surrogatepass")
        for key, evidence in keys:
            keyed = key.copy()
            keyed.update(text)
            yield encode(keyed.digest(), "base64"), evidence


def _urls(url: str) -> Iterator[str]:
    """The URL as it is, then the other way to write its port: the provider is inconsistent about which it signs."""
    yield url
    parts = _URL.fullmatch(url)
    if parts:
        protocol, host, port, rest = parts.groups()
        yield protocol + host + ("" if port else _PORTS[protocol]) + rest


def _sorted_once(form: Pairs) -> str:
    """Sorted by name; equal pairs once, several values of a name sorted too."""
    return "".join(map("".join, sorted(set(form))))


def _kept(form: Pairs) -> str:
    """Sorted by name; several values of a name as they came."""
    text = "".join(map("".join, sorted(form, key=itemgetter(0))))
    if text.startswith(("{", "[")):
        # SignalWire signs a JSON body with the same key, behind the URL like this text
        raise Refused("names and values of the form begin like JSON, so the signature may be that of a JSON body")
    return text


_JOINED: dict[str, Callable[[Pairs], str]] = {"sorted": _sorted_once, "kept": _kept}


def _signed_form(request: Request, joined: Callable[[Pairs], str]) -> str:
    """Names and values, one behind the other."""
    if request.method != "GET" and request.form:
        return joined(request.form)
    _check_body(request)
    return ""


def _check_body(request: Request) -> None:
    """Without a form only the URL is signed; a body must then be the one whose hash stands in the URL."""
    query = parse_pairs(request.url.partition("?")[2])
    told = next((value for name, value in query if name == "bodySHA256"), None)
    if told is None and request.body:
        raise Refused("the body is not a form and the URL has no bodySHA256, so the signature does not cover the body")
    if told is not None and sha256(request.body).hexdigest() != told:
        raise Refused(
            "the body does not have the hash that the URL gives as bodySHA256; check that no proxy rewrites it"
        )


def _reason(name: str, given: bytes, url: str, form: str) -> str:
    if not _SHAPE.pattern.fullmatch(given):
        return f"header {name} is not {_SHAPE.words}"
    signed = f"the URL {_shown(url)}{' and form' if form else ''}"
    return f"signature does not match {signed}; check PUBLIC_URL and the auth token"


def _shown(url: str) -> str:
    parts = _SHOWN.match(url)
    shown = f"{parts[1]}{parts[2]}{parts[3] or '/'}***" if parts else "***"
    return f"{shown}?***" if "?" in url else shown
