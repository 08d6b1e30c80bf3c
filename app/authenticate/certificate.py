"""Whether a certificate is Amazon SNS's own: whose it is, that it holds now, and who vouches for it."""

import re
import ssl
from collections.abc import Sequence
from datetime import datetime
from functools import cache

from cryptography import x509
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from app.errors import NotReady, Refused

#: a region, us-east-1. Not just any word: sns.s3-us-west-2.amazonaws.com is a bucket that anybody could have
REGION = "[a-z]{2,4}(?:-[a-z]{2,12}){1,2}-[0-9]{1,2}"
#: sns.amazonaws.com; in newer regions, China and GovCloud sns-signing.<region>, sns.<region>, sns-<region>
#: https://github.com/aws/aws-sdk-java-v2/blob/master/services-custom/sns-message-manager
_SIGNER = re.compile(rf"sns(?:-signing)?(?:[.-]{REGION})?\.amazonaws\.com(?:\.cn)?")


def check(chain: Sequence[x509.Certificate], at: datetime, roots: Sequence[x509.Certificate] | None = None) -> None:
    """Raises Refused where the first certificate is not SNS's, does not hold `at` that time, or is vouched for by
    nobody in `roots` (None: the machine's own).

    Amazon serves the certificate alone, without the intermediate one that its chain needs. Then its authority is the
    connection that it came through: https to a host of SNS's, whose certificate, name and chain the client has verified
    against the same roots. Who can forge that connection has one of them at hand, and it could vouch for a signing
    certificate just as well, so a look-up of the missing link would add nothing. Issuers that do come along must lead
    to a root.
    https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
    """
    leaf, *issuers = chain
    if not leaf.not_valid_before_utc <= at <= leaf.not_valid_after_utc:
        raise Refused("the signing certificate has ended or not begun; check this machine's clock")
    name = next((name for name in _names(leaf) if _SIGNER.fullmatch(name)), None)
    if name is None:
        raise Refused("the signing certificate is not one of Amazon SNS")
    if issuers:
        _check_issuers(leaf, issuers, name, at, roots)


def _names(certificate: x509.Certificate) -> list[str]:
    """Its host names; the common name counts where there are no others."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return [str(attribute.value).lower() for attribute in common]


def _check_issuers(
    leaf: x509.Certificate,
    issuers: list[x509.Certificate],
    name: str,
    at: datetime,
    roots: Sequence[x509.Certificate] | None,
) -> None:
    policy = PolicyBuilder().store(Store(list(_system_roots() if roots is None else roots))).time(at)
    try:
        policy.build_server_verifier(x509.DNSName(name)).verify(leaf, issuers)
    except VerificationError:
        raise Refused("the signing certificate's chain does not lead to an authority that is trusted here") from None


@cache
def _system_roots() -> tuple[x509.Certificate, ...]:
    """The authorities that this machine trusts, those of the file that OpenSSL reads.

    A few old ones have the serial number 0, which the standard forbids and the parser does not like.
    """
    context = ssl.create_default_context()
    both = zip(context.get_ca_certs(), context.get_ca_certs(binary_form=True), strict=True)
    roots = tuple(x509.load_der_x509_certificate(der) for told, der in both if int(str(told["serialNumber"]), 16) > 0)
    if not roots:
        raise NotReady("this machine has no trusted authorities; install its package ca-certificates")
    return roots
