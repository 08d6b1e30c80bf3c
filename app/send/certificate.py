"""mTLS: who we are in the TLS handshake with a provider, and whom we trust there."""

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import NamedTemporaryFile

from app.credential import ClientCertificate
from app.errors import BadInput


def tls_for(url: str, given: ClientCertificate | None) -> ssl.SSLContext | None:
    """The context for calls of this URL; None where no certificate is shown. Raises BadInput as `client_tls` does."""
    if given is None:
        return None
    if not url.startswith("https:"):
        raise BadInput("client_certificate: the url must begin with https, or no certificate is ever shown")
    return client_tls(given)


def client_tls(given: ClientCertificate) -> ssl.SSLContext:
    """The context that shows the certificate. Raises BadInput for PEM texts that cannot be read or do not fit."""
    context = ssl.create_default_context()
    _trust(context, given.authority)
    _show(context, given)
    return context


def _trust(context: ssl.SSLContext, authority: str) -> None:
    if not authority.isascii():
        raise BadInput("client_certificate: authority has characters beyond ASCII; give the lines of the PEM alone")
    if authority:
        try:
            context.load_verify_locations(cadata=authority)
        except (ssl.SSLError, ValueError):
            raise BadInput("client_certificate: authority is not a certificate in PEM; was it copied whole?") from None


def _show(context: ssl.SSLContext, given: ClientCertificate) -> None:
    try:
        with _file_of(f"{given.certificate}\n{given.key.get_secret_value()}\n".encode()) as path:
            # an empty password, so that nobody is asked for one on the terminal
            context.load_cert_chain(path, password="")
    except (ssl.SSLError, ValueError):
        raise BadInput(
            "client_certificate: certificate and key must both be PEM, belong together, and have no password"
        ) from None
    except OSError as error:
        raise BadInput(f"client_certificate: it cannot be handed to the TLS library: {error.strerror}") from None


@contextmanager
def _file_of(data: bytes) -> Iterator[str]:
    """The path of a file with the data, which is gone when the block ends: OpenSSL reads keys from files alone.

    It lies in memory where there is such a thing; otherwise on a disk, its owner's to read (0600).
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("client certificate"), "wb") as file:
            file.write(data)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with NamedTemporaryFile(suffix=".pem") as file:
            file.write(data)
            file.flush()
            yield file.name
