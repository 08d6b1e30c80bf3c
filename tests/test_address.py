"""Addresses: E.164 for phones, kind:value otherwise, and never a guess."""

from typing import Any

import pytest

from app.address import is_reachable, mask, normalise
from app.errors import BadAddress


@pytest.mark.parametrize(
    ("value", "how", "address"),
    [
        ("+14155550100", {}, "+14155550100"),
        (" +1 (415) 555-0100 ", {}, "+14155550100"),
        ("+1\u00a0415.555.0100", {}, "+14155550100"),
        ("0041791230000", {}, "+41791230000"),
        ("41791230000", {"international": True}, "+41791230000"),
        ("(415) 555-0100", {"region": "US"}, "+14155550100"),
        ("079 123 00 00", {"region": "CH"}, "+41791230000"),
        ("4155550100", {"region": "US"}, "+14155550100"),
        ("14155550100", {"region": "US"}, "+14155550100"),
        ("0791234567", {"region": "CH"}, "+41791234567"),
        ("41791234567", {"region": "CH"}, "+41791234567"),
        ("01701234567", {"region": "DE"}, "+491701234567"),
        ("612345678", {"region": "FR"}, "+33612345678"),
        # SMS, MMS and RCS to one number share its consent
        ("sms:+14155550100", {}, "+14155550100"),
        ("RCS:+14155550100", {}, "+14155550100"),
        ("tel:+14155550100", {}, "+14155550100"),
        # other channels are identities of their own; with or without the plus it is the same person
        ("whatsapp:+14155550100", {}, "whatsapp:+14155550100"),
        ("WhatsApp:14155550100", {}, "whatsapp:+14155550100"),
        ("messenger:1234567890", {}, "messenger:1234567890"),
        # who cannot be answered
        ("12345", {}, "short:12345"),
        ("AcmeShop", {}, "alpha:acmeshop"),
    ],
)
def test_an_address_is_kept_in_one_form(value: str, how: dict[str, Any], address: str) -> None:
    assert normalise(value, **how) == address


@pytest.mark.parametrize(
    ("value", "how"),
    [
        ("", {}),
        ("   ", {}),
        ("4155550100", {}),  # which country?
        ("0791230000", {"international": True}),  # no country code begins with 0
        ("99", {"region": "US"}),  # not a possible number
        ("5550100", {"region": "US"}),  # without area code
        # with the country code of another region
        ("41791234567", {"region": "DE"}),
        ("491701234567", {"region": "CH"}),
        ("491701234567", {"region": "AT"}),
        ("14155550100", {"region": "DE"}),
        ("14155550100", {"region": "BR"}),
        ("33612345678", {"region": "IT"}),
        ("٤١٥٥٥٥٠١٠٠", {"region": "US"}),  # digits of another script
        ("whatsapp:", {}),
        ("messenger:a b", {}),
        ("+1415555010012345", {}),
    ],
)
def test_what_cannot_be_decided_is_refused_and_never_guessed(value: str, how: dict[str, Any]) -> None:
    with pytest.raises(BadAddress):
        normalise(value, **how)


def test_a_refusal_does_not_tell_the_number() -> None:
    with pytest.raises(BadAddress) as refused:
        normalise("4155550100")

    assert "4155550100" not in str(refused.value)
    assert "region" in str(refused.value)


def test_a_refusal_of_a_number_that_may_be_two_names_the_mend_and_not_the_number() -> None:
    with pytest.raises(BadAddress) as refused:
        normalise("41791234567", region="DE")

    assert str(refused.value) == (
        "'41791•••67' may be a national number of region DE or one with country code; "
        "let the provider send it with a plus, or a leading 0"
    )


def test_only_phones_and_identities_can_be_answered() -> None:
    assert [is_reachable(a) for a in ("+14155550100", "whatsapp:+14155550100", "short:12345", "alpha:acme")] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("address", "shown"),
    [("+14155550100", "+1415•••00"), ("whatsapp:+14155550100", "whats•••00"), ("+4179123", "+4•••23"), ("abc", "a•••")],
)
def test_logs_show_a_mask(address: str, shown: str) -> None:
    assert mask(address) == shown
