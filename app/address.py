"""Addresses of people and senders: E.164 for phones, `kind:value` for everything else.

SMS, MMS and RCS to one number share its consent, so their prefixes fall away; WhatsApp and other channels keep theirs.
"""

import re
from functools import lru_cache

import phonenumbers

from app.errors import BadAddress

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_CHANNELS = frozenset({"sms", "mms", "rcs", "tel"})
#: channels of their own whose identities are phone numbers, sent with or without the plus
_NUMBERED_CHANNELS = frozenset({"whatsapp", "viber", "viberbm"})
_SHORT_CODE = re.compile(r"[0-9]{3,6}")
_ALPHANUMERIC = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 ._&+-]{1,64}")


def split_channel(value: str) -> tuple[str, str]:
    """(channel, rest) of `whatsapp:+4179…`; the channel is empty where none is named."""
    head, colon, rest = value.partition(":")
    if colon and head.isalpha():
        return head.lower(), rest.strip()
    return "", value


@lru_cache(maxsize=65536)
def normalise(value: str, *, region: str | None = None, international: bool = False) -> str:
    """The address that consent is kept under.

    `international`: the provider sends numbers with country code and no plus. `region` (ISO 3166, "US") is for
    numbers in national form. Short codes become `short:12345`, alphanumeric senders `alpha:acme`.
    Raises BadAddress where nothing can be decided: a guessed number is somebody else's number.
    """
    text = value.strip()
    if _E164.fullmatch(text):
        return text
    channel, rest = split_channel(text)
    if channel and channel not in _PHONE_CHANNELS:
        return f"{channel}:{_identity(channel, rest)}"
    return _phone(rest, region, international)


def _identity(channel: str, value: str) -> str:
    if channel in _NUMBERED_CHANNELS and _E164.fullmatch("+" + value):
        return "+" + value
    if not value or len(value) > 200 or any(ord(c) < 33 for c in value):
        raise BadAddress(f"{_shown(value)} is not an identity: it is empty, too long, or has blanks in it")
    return value


def _phone(value: str, region: str | None, international: bool) -> str:
    digits = re.sub(r"[\s().\u00a0-]", "", value)
    if _E164.fullmatch(digits):
        return digits
    if _SHORT_CODE.fullmatch(digits):
        return f"short:{digits}"
    if digits.startswith("00") and _E164.fullmatch("+" + digits[2:]):
        return "+" + digits[2:]
    if international and _E164.fullmatch("+" + digits):
        return "+" + digits
    if digits.isascii() and digits.isdecimal() and region:
        return _national(digits, region)
    if _ALPHANUMERIC.fullmatch(value):
        return f"alpha:{value.lower()}"
    raise BadAddress(f"{_shown(value)} is not a number with country code; give the webhook a region for national forms")


def _national(digits: str, region: str) -> str:
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException as error:
        raise BadAddress(f"{_shown(digits)} is not a number of region {region}: {error}") from None
    if not phonenumbers.is_valid_number(number):
        raise BadAddress(f"{_shown(digits)} is not a valid number of region {region}")
    address = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    # in North America a country code begins with 1, as no national number does
    if digits[0] != "0" and number.country_code != 1 and address != "+" + digits and _is_valid("+" + digits):
        raise BadAddress(
            f"{_shown(digits)} may be a national number of region {region} or one with country code; "
            "let the provider send it with a plus, or a leading 0"
        )
    return address


def _is_valid(e164: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(e164))
    except phonenumbers.NumberParseException:
        return False


def is_reachable(address: str) -> bool:
    """Whether a reply may go there: no short code, no alphanumeric sender."""
    return not address.startswith(("short:", "alpha:"))


def mask(address: str) -> str:
    """For logs: `+1415•••0100`. Nothing with fewer than eight characters shows more than its first."""
    if len(address) < 8:
        return address[:1] + "•••"
    return f"{address[:5] if len(address) > 10 else address[:2]}•••{address[-2:]}"


def _shown(value: str) -> str:
    return "an empty value" if not value.strip() else f"'{mask(value)}'"


def digits_of(address: str) -> tuple[str, str]:
    """The digits of a phone number with its country code, and those within its country; ("", "") for anybody else."""
    number = split_channel(address)[1]
    if not _E164.fullmatch(number):
        return "", ""
    try:
        return number[1:], phonenumbers.national_significant_number(phonenumbers.parse(number))
    except phonenumbers.NumberParseException:
        return number[1:], number[1:]
