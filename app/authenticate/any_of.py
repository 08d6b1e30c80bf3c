"""Any of several schemes: the first that proves wins."""

from app.authenticate.evidence import Verifier
from app.errors import BadInput, KeyWanted, NotReady, Refused
from app.request import Request
from app.scheme import AnyScheme, Ed25519Scheme, SnsScheme, needs_secret, schemes_of


def verifier(scheme: AnyScheme, verifiers: list[Verifier]) -> Verifier:
    """Tries one after the other. A key that must be fetched is asked for once no other scheme has proved the request.

    The call raises NotReady where one of them could not look at the request, for want of a secret or a key: it might
    have proved it, and to most providers a refusal is final. Else Refused, with the reasons of all.
    """
    _check_secrets(scheme)
    return lambda request: _proved(request, verifiers)


def _check_secrets(scheme: AnyScheme) -> None:
    """All schemes share the webhook's secrets, so none of these may be public: anybody could use it as a password."""
    needing = [one for one in schemes_of(scheme) if needs_secret(one)]
    public = [one.type for one in needing if isinstance(one, Ed25519Scheme | SnsScheme)]
    private = [one.type for one in needing if one.type not in public]
    if public and private:
        raise BadInput(
            f"scheme any: the secret of {public[0]} is no secret, and {private[0]} would believe whoever knows it; "
            "make a webhook for each"
        )


def _proved(request: Request, verifiers: list[Verifier]) -> str:
    refused, not_ready, wanted = [], [], None
    for verify in verifiers:
        try:
            return verify(request)
        except Refused as error:
            refused.append(str(error))
        except KeyWanted as error:
            wanted = wanted or error
        except NotReady as error:
            not_ready.append(str(error))
    if wanted:
        raise wanted
    raise (NotReady if not_ready else Refused)("; ".join(dict.fromkeys(refused + not_ready)))
