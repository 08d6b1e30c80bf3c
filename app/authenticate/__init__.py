"""2 authenticate: is it really them? One file per signature scheme.

Comes in: a request with its exact bytes and public URL, and the webhook's live secrets. Goes out: one line of evidence
for the ledger, or Refused with a reason for the operator's doctor. It never looks at what the message says, and no
reason ever holds the expected value, a secret, or the webhook's token.
"""

from functools import partial
from typing import NoReturn, assert_never

from app.authenticate import (
    any_of,
    basic,
    bearer,
    client_certificate,
    ed25519,
    json_web_token,
    keyed_hash,
    parameter,
    plivo,
    secret,
    sns,
    token,
    twilio,
)
from app.authenticate.evidence import Verifier, check_present
from app.authenticate.keyring import Keyring
from app.authenticate.secret import shows
from app.errors import NotReady
from app.request import Request
from app.scheme import (
    AnyScheme,
    BasicScheme,
    BearerScheme,
    ClientCertificateScheme,
    Ed25519Scheme,
    HmacScheme,
    JwtScheme,
    ParameterScheme,
    PlivoScheme,
    Scheme,
    SecretScheme,
    SnsScheme,
    TokenScheme,
    TwilioScheme,
)

__all__ = ["Keyring", "Verifier", "shows", "verifier"]


def verifier(scheme: Scheme, secrets: tuple[bytes, ...], keyring: Keyring | None = None) -> Verifier:
    """What proves the requests of one webhook, made once: call it with a request, get the evidence.

    The evidence reads like "twilio, secret 1 of 2"; while a secret is rotated, each of the live ones is good.
    Raises BadInput where the scheme could prove nothing. The call raises Refused where the proof is missing or wrong,
    KeyWanted where a public key must be fetched first, and NotReady where the scheme needs a secret and there is none
    that it can use: an empty secret, which anybody could sign with, counts as none.
    """
    live = tuple(given for given in secrets if given)
    try:
        return _of_scheme(scheme, live, keyring)
    except NotReady as error:
        return partial(_not_ready, str(error))


def _of_scheme(scheme: Scheme, secrets: tuple[bytes, ...], keyring: Keyring | None) -> Verifier:  # noqa: C901, PLR0911, PLR0912 - a table
    match scheme:
        case TokenScheme():
            return token.verify
        case SecretScheme():
            return secret.verifier(scheme, secrets)
        case BasicScheme():
            return basic.verifier(scheme, secrets)
        case HmacScheme():
            return keyed_hash.verifier(scheme, secrets)
        case Ed25519Scheme():
            return ed25519.verifier(scheme, secrets)
        case TwilioScheme():
            return twilio.verifier(scheme, secrets)
        case PlivoScheme():
            return plivo.verifier(scheme, secrets)
        case JwtScheme():
            return json_web_token.verifier(scheme, secrets)
        case ParameterScheme():
            return parameter.verifier(scheme, secrets)
        case SnsScheme():
            check_present("sns", secrets)
            return sns.verifier(scheme, secrets, _present(keyring))
        case BearerScheme():
            return bearer.verifier(scheme, _present(keyring))
        case ClientCertificateScheme():
            return client_certificate.verifier(scheme)
        case AnyScheme():
            return any_of.verifier(scheme, [verifier(one, secrets, keyring) for one in scheme.of])
        case _:
            assert_never(scheme)


def _present(keyring: Keyring | None) -> Keyring:
    if keyring is None:
        raise NotReady("this scheme needs a provider's public keys, and nothing here can fetch them")
    return keyring


def _not_ready(reason: str, _request: Request) -> NoReturn:
    raise NotReady(reason)
