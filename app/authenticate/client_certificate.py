"""mTLS that a trusted proxy has ended: which client certificate it saw, it tells in a header.

nginx: `proxy_set_header x-client-fingerprint $ssl_client_fingerprint;`,
https://nginx.org/en/docs/http/ngx_http_ssl_module.html#var_ssl_client_fingerprint
"""

import re

from app.authenticate.evidence import Verifier, header, matching
from app.errors import Refused
from app.request import Request
from app.scheme import ClientCertificateScheme

#: SHA-1, SHA-256 or SHA-512 as hex digits, with or without colons
_FINGERPRINT = re.compile(rb"(?:[0-9A-Fa-f]{2}:?){19,63}[0-9A-Fa-f]{2}")


def verifier(scheme: ClientCertificateScheme) -> Verifier:
    """Expects one of the fingerprints or subjects. The header counts only as a trusted proxy's word."""
    name, count = scheme.header.lower(), len(scheme.values)
    expected = [
        (_folded(value.encode()), f"client_certificate, value {number} of {count}")
        for number, value in enumerate(scheme.values, 1)
    ]

    def verify(request: Request) -> str:
        if not request.via_proxy:
            raise Refused(f"header {name} counts only from a proxy in TRUSTED_PROXIES, and this came from elsewhere")
        evidence = matching(_folded(header(request, name)), expected)
        if evidence is None:
            raise Refused(f"header {name} tells of another client certificate than those of the scheme's values")
        return evidence

    return verify


def _folded(told: bytes) -> bytes:
    return told.replace(b":", b"").lower() if _FINGERPRINT.fullmatch(told) else told
