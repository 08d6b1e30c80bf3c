"""2 authenticate: is it really them? One file per signature scheme.

Comes in: a request with its exact bytes and public URL, and the webhook's live secrets. Goes out: one line of evidence
for the ledger, or Refused with a reason for the operator's doctor. It never looks at what the message says, and no
reason ever holds the expected value, a secret, or the webhook's token.
"""

from functools import partial
from typing import NoReturn, assert_never

from app.authenticate import basic, raw_hmac, secret, token, twilio
from app.authenticate.evidence import Verifier
from app.errors import NotReady
from app.scheme import BasicScheme, HmacScheme, Scheme, SecretScheme, TokenScheme, TwilioScheme
from app.request import Request

__all__ = ["Verifier", "verifier"]


def verifier(scheme: Scheme, secrets: tuple[bytes, ...]) -> Verifier:
    """What proves the requests of one webhook, made once: call it with a request, get the evidence.

    The evidence reads like "twilio, secret 1 of 2"; while a secret is rotated, each of the live ones is good.
    The call raises Refused where the proof is missing or wrong, and NotReady where the scheme needs a secret and
    there is none: an empty secret, which anybody could sign with, counts as none.
    """
    live = tuple(given for given in secrets if given)
    if not live and not isinstance(scheme, TokenScheme):
        return partial(_without_secret, scheme.type)
    return _of_scheme(scheme, live)


def _of_scheme(scheme: Scheme, secrets: tuple[bytes, ...]) -> Verifier:
    match scheme:
        case TokenScheme():
            return token.verify
        case SecretScheme():
            return secret.verifier(scheme, secrets)
        case BasicScheme():
            return basic.verifier(scheme, secrets)
        case HmacScheme():
            return raw_hmac.verifier(scheme, secrets)
        case TwilioScheme():
            return twilio.verifier(scheme, secrets)
        case _:
            assert_never(scheme)


def _without_secret(kind: str, _request: Request) -> NoReturn:
    raise NotReady(f"signature scheme {kind} needs a secret and the webhook has none; set the webhook's secret")
