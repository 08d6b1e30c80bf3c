"""mTLS: who we are in the TLS handshake with a provider, and whom we trust there."""

import ssl
from tempfile import NamedTemporaryFile

from app.credential import ClientCertificate
from app.errors import BadInput


def client_tls(given: ClientCertificate) -> ssl.SSLContext:
    """The context that shows the certificate. Raises BadInput for PEM texts that cannot be read or do not fit."""
    context = ssl.create_default_context()
    _trust(context, given.authority)
    _show(context, given)
    return context


def _trust(context: ssl.SSLContext, authority: str) -> None:
    if authority:
        try:
            context.load_verify_locations(cadata=authority)
        except (ssl.SSLError, ValueError):
            raise BadInput("client_certificate: authority is not a certificate in PEM; was it copied whole?") from None


def _show(context: ssl.SSLContext, given: ClientCertificate) -> None:
    # OpenSSL reads keys from files alone. This one is its owner's to read (0600), and gone when the block ends.
    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(f"{given.certificate}\n{given.key.get_secret_value()}\n")
        file.flush()
        try:
            # an empty password, so that nobody is asked for one on the terminal
            context.load_cert_chain(file.name, password="")
        except (ssl.SSLError, ValueError):
            raise BadInput(
                "client_certificate: certificate and key must both be PEM, belong together, and have no password"
            ) from None
