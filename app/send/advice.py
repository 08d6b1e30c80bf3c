"""What to mend where a tried message was not taken, or taken under no id: one or two sentences for its operator."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from app.credential import Auth, Credential
from app.errors import SendFailed
from app.provider import Provider
from app.send.answer import at, body_of, holds, steps_of, text_of, word_of
from app.send.connection import Answer, CertificateRefused
from app.send.render import Outgoing
from app.sending import Send
from app.webhook import CUSTOM

#: paths of an answer that are listed
_LISTED = 12
_DEEPEST = 16

_AUTHS: Mapping[str, str] = {
    "none": "The credential has no auth, so nothing proves who calls; give it one",
    "basic": "Compare auth's username and password with the provider's console",
    "bearer": "Compare auth's token and prefix with the provider's console",
    "api_key": "Compare auth's token, and the name and place that it is sent in, with the provider's documentation",
    "mac": "Compare auth's token, secret and recipe with the provider's documentation, and this machine's clock",
    "jwt": "Compare auth's key, algorithm and claims with the provider's documentation, and this machine's clock",
    "oauth": "An access token was had and is not good for this URL: compare auth's prefix, and the scope in its body",
}
_TOKEN_ERRORS: Mapping[str, str] = {
    "invalid_client": "compare client_id and client_secret in auth's body, and whether they belong into a header",
    "invalid_grant": "compare what auth's body proves (assertion, password, refresh token), and this machine's clock",
    "invalid_scope": "compare scope in auth's body with what the provider has granted",
    "unauthorized_client": "have the provider allow this client the grant_type in auth's body",
    "unsupported_grant_type": "compare grant_type in auth's body with the provider's documentation",
    "invalid_request": "compare the names in auth's body, and its format (form or json), with the documentation",
}
_STATUSES: Mapping[int, str] = {
    402: "The provider wants to be paid: look at the account's balance.",
    403: "The provider knows the caller and forbids this: look whether the sender is its account's, whether the account"
    " may send there (trial accounts often reach verified numbers only), and whether it allows this machine's address.",
    404: "There is nothing at this URL: compare its path, and the account or application in it (app_id, parameters),"
    " with the provider's documentation.",
    405: "This URL does not take this method: compare url and method with the provider's documentation.",
    408: "The provider gave up waiting for the request; try again.",
    413: "The request is too long for the provider; shorten the message.",
    415: "The provider wants the body in another form: compare payload_format (json, form, xml, text).",
    429: "The provider asks for fewer messages: wait, or have the account's rate raised.",
}


class Tried(NamedTuple):
    """A message that was tried, and the last call of it."""

    credential: Credential
    provider: Provider | None
    rules: Send
    purpose: str = "message"
    request: Outgoing | None = None
    answer: Answer | None = None


def advice(tried: Tried, failure: SendFailed | None, found: str) -> str:
    """What to mend; empty where nothing is amiss. `found`: the id. It names paths of an answer, never a value."""
    if failure is None:
        return "" if found or tried.answer is None else _without_id(tried, tried.answer)
    if tried.request is None:
        return "No request could be made of the message; mend the credential's payload, or its expression."
    if tried.answer is None:
        return _unanswered(tried, tried.request, failure)
    if tried.purpose == "message":
        return _refused(tried, tried.answer, failure)
    return _no_token(tried.credential.auth, tried.answer)


# --- no answer ----------------------------------------------------------------------------------------------------


def _unanswered(tried: Tried, request: Outgoing, failure: SendFailed) -> str:
    host, field = urlsplit(request.url).netloc, "url" if tried.purpose == "message" else "auth's url"
    cause = _cause(failure)
    if isinstance(cause, CertificateRefused | ssl.SSLError):
        return _tls(tried, host, field, cause)
    if isinstance(cause, socket.gaierror | UnicodeError):
        return f"The name of the host is not known: look for a slip in {field}, and whether this machine's DNS works."
    if isinstance(cause, TimeoutError):
        return _too_slow(host, departed=failure.departed)
    if isinstance(cause, OSError) and failure.departed:
        return f"{host} hung up without an answer: look for a slip in {field}, such as http for https, and try again."
    if isinstance(cause, OSError):
        return f"{host} takes no connection: look at host and port in {field}, and whether a firewall lets nobody out."
    # what the client itself refuses to call says the mend
    return f"{str(failure)[:1].upper()}{str(failure)[1:]}."


def _tls(tried: Tried, host: str, field: str, cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"{host} could not prove who it is ({cause.verify_message}): look for a slip in {field}. Where its"
            " authority is a private one, add that to this machine's trusted ones (SSL_CERT_FILE), or with mTLS to"
            " client_certificate.authority."
        )
    if isinstance(cause, ssl.SSLError):
        return f"{host} speaks no TLS that fits: look at the port in {field}, and whether it is http."
    if tried.credential.client_certificate is None:
        return f"{host} wants to see a client certificate: give the credential a client_certificate, with its key."
    return f"{host} does not accept the client_certificate: register it there, and look whether it has ended."


def _too_slow(host: str, *, departed: bool) -> str:
    if departed:
        return (
            f"{host} took the request and did not answer in time, so the message may have left: look into the"
            " provider's console before you try again. TEXTBACK_SEND_TIMEOUT says how long is waited."
        )
    return f"{host} did not answer in time, and nothing has left: look whether a firewall keeps this machine from it."


def _cause(failure: BaseException | None) -> BaseException | None:
    """What the client met: it stays out of the sentences, and remains the context of the failure."""
    while isinstance(failure, SendFailed):
        failure = failure.__context__
    return failure


# --- an answer that is no yes -------------------------------------------------------------------------------------


def _refused(tried: Tried, answer: Answer, failure: SendFailed) -> str:
    if failure.blocked:
        return "The provider says that this person has opted out with it: try another number, or text START from it."
    if 200 <= answer.status < 300:
        return _not_accepted(tried.rules, answer, doubtful=failure.departed)
    if 300 <= answer.status < 400:
        return _redirected(answer)
    if answer.status == 401:
        return _unauthorised(tried)
    if answer.status >= 500:
        return "That is a fault at the provider: try again later. If it stays, compare url and payload with its page."
    return _STATUSES.get(answer.status, _MISUNDERSTOOD) + _page(tried)


_MISUNDERSTOOD = (
    "The provider has read the request and cannot use it; its answer says why. Often it is the form of a number, a"
    " sender that is not the account's, or a field that is missing."
)


def _unauthorised(tried: Tried) -> str:
    auth = tried.credential.auth
    takes = f"; the provider takes {' or '.join(tried.rules.auth)}" if auth.type == "none" and tried.rules.auth else ""
    return f"The provider does not know the caller. {_AUTHS[auth.type]}{takes}." + _page(tried)


def _redirected(answer: Answer) -> str:
    # a query may hold a secret, and has no place in a url that is given for good
    target = answer.headers.get("location", "").partition("?")[0]
    to = f" ({target})" if target else ""
    return (
        f"The provider points to another URL{to}, and a redirect is never followed: give the credential the final url."
    )


def _not_accepted(rules: Send, answer: Answer, *, doubtful: bool) -> str:
    body = body_of(answer)
    unmet = [
        _unmet(path, wanted, at(body, steps_of(path)))
        for path, wanted in rules.accepted.items()
        if not holds({path: wanted}, body)
    ] or [f"the text should match {rules.accepted_pattern}"]
    look = (
        "Whether it was taken, the provider's console tells"
        if doubtful
        else "Its answer says why; look up the code in its documentation"
    )
    return f"The provider answered {answer.status}, which is no yes: {'; '.join(unmet)}. {look}."


def _unmet(path: str, wanted: bool | str | list[str], value: Any) -> str:
    if isinstance(wanted, bool):
        return f"'{path}' should {'be there' if wanted else 'be absent'}"
    there = f"'{word_of(value)[:40]}'" if word_of(value) else "absent"
    return f"'{path}' should be {wanted if isinstance(wanted, str) else ' or '.join(wanted)} and is {there}"


def _page(tried: Tried) -> str:
    return f" See {tried.provider.page}" if tried.provider else ""


# --- no access token ----------------------------------------------------------------------------------------------


def _no_token(auth: Auth, answer: Answer) -> str:
    body = body_of(answer)
    code = text_of(body.get("error")) if isinstance(body, dict) else ""
    if 200 <= answer.status < 300:
        path = getattr(auth, "token_path", "")
        return f"The answer of auth's url has no token at '{path}'; set auth's token_path. {_paths(body)}"
    if 300 <= answer.status < 400:
        return _redirected(answer).replace("give the credential the final url", "give auth the final url")
    usual = "compare auth's body and headers" if answer.status in (400, 401, 403) else "compare auth's url"
    mend = _TOKEN_ERRORS.get(code, f"{usual} with the provider's documentation")
    return f"The call for the access token failed, so the message was not sent: {mend}."


# --- no id --------------------------------------------------------------------------------------------------------


def _without_id(tried: Tried, answer: Answer) -> str:
    """A provider file that names no place of the id knows that there is none."""
    rules, body = tried.rules, body_of(answer)
    wanted = rules.id or rules.id_pattern
    if not wanted and tried.credential.provider != CUSTOM:
        return ""
    missing = f"no id was found at '{wanted}'" if wanted else "message_id is not set, so no id was looked for"
    return (
        f"The message was taken, but {missing}: our own reference counts as its id, and a receipt that names the"
        f" provider's finds no message. Set message_id to its path. {_paths(body)}"
    )


def _paths(body: Any) -> str:
    if not isinstance(body, dict | list):
        return "The answer is no JSON."
    found = list(_leaves(body, ()))
    more = ", …" if len(found) > _LISTED else ""
    return f"The answer has {', '.join(found[:_LISTED])}{more}." if found else "The answer is empty."


def _leaves(tree: Any, steps: tuple[str, ...]) -> Iterator[str]:
    """The paths of all texts and numbers."""
    inside: Any = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    if text_of(tree):
        yield ".".join(step.replace(".", "\\.") for step in steps)
    for name, value in inside if len(steps) < _DEEPEST else ():
        yield from _leaves(value, (*steps, str(name)))
