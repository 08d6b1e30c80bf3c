"""2 authenticate: the keyring fetches providers' public keys once, keeps them for a while, and never grows."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from app.authenticate import keyring
from app.authenticate.keyring import Keyring
from app.errors import KeyWanted, NotReady
from tests.public_keys import (
    CERT_URL,
    KEYS_URL,
    MIDDLE,
    MIDDLE_KEY,
    NOON,
    OTHER_KEY,
    SIGNER,
    SIGNER_KEY,
    Shelf,
    filled,
    issued,
    key_set,
    pem,
)


@pytest.mark.parametrize("look_up", [Keyring.certificate, Keyring.chain, Keyring.key_set])
def test_a_key_that_is_not_at_hand_is_wanted(look_up: Callable[[Keyring, str], Any]) -> None:
    with pytest.raises(KeyWanted) as wanted:
        look_up(Shelf({}).ring(), CERT_URL)

    assert wanted.value.url == CERT_URL


def test_a_certificate_is_kept_for_a_day() -> None:
    shelf = Shelf({CERT_URL: pem(SIGNER, MIDDLE)})
    ring = shelf.ring()

    asyncio.run(ring.fill(CERT_URL))

    assert (ring.certificate(CERT_URL), ring.chain(CERT_URL)) == (SIGNER, (SIGNER, MIDDLE))
    shelf.now = NOON + timedelta(hours=23, minutes=59)
    assert ring.certificate(CERT_URL) == SIGNER
    shelf.now = NOON + timedelta(days=1)
    with pytest.raises(KeyWanted):
        ring.certificate(CERT_URL)


def test_a_certificate_is_kept_no_longer_than_it_holds() -> None:
    ending = issued("sns.amazonaws.com", SIGNER_KEY, "Middle", MIDDLE_KEY, until=NOON + timedelta(hours=2))
    shelf = Shelf({CERT_URL: pem(ending)})
    ring = shelf.ring()

    asyncio.run(ring.fill(CERT_URL))
    shelf.now = NOON + timedelta(hours=2)

    with pytest.raises(KeyWanted):
        ring.certificate(CERT_URL)


def test_a_certificate_that_has_ended_is_given_so_that_its_messages_are_refused_and_not_put_off() -> None:
    ended = issued("sns.amazonaws.com", SIGNER_KEY, "Middle", MIDDLE_KEY, until=NOON - timedelta(days=1))

    ring = filled(CERT_URL, pem(ended))

    assert ring.certificate(CERT_URL) == ended


def test_a_key_set_is_kept_for_an_hour() -> None:
    shelf = Shelf({KEYS_URL: key_set(one=SIGNER_KEY)})
    ring = shelf.ring()

    asyncio.run(ring.fill(KEYS_URL))

    assert [key.key_id for key in ring.key_set(KEYS_URL)] == ["one"]
    shelf.now = NOON + timedelta(hours=1)
    with pytest.raises(KeyWanted):
        ring.key_set(KEYS_URL)


def test_an_unknown_key_has_its_set_fetched_again_once_a_minute_at_most() -> None:
    shelf = Shelf({KEYS_URL: key_set(one=SIGNER_KEY)})
    ring = shelf.ring()
    asyncio.run(ring.fill(KEYS_URL))
    shelf.standing[KEYS_URL] = key_set(one=SIGNER_KEY, two=OTHER_KEY)

    shelf.now = NOON + timedelta(seconds=59)
    with pytest.raises(NotReady, match="fetched anew after a minute"):
        ring.key(KEYS_URL, "two", shelf.now)
    asyncio.run(ring.fill(KEYS_URL))
    assert len(shelf.asked) == 1

    shelf.now = NOON + timedelta(seconds=60)
    with pytest.raises(KeyWanted):
        ring.key(KEYS_URL, "two", shelf.now)
    asyncio.run(ring.fill(KEYS_URL))
    found = ring.key(KEYS_URL, "two", shelf.now)
    assert (found and found.key_id, len(shelf.asked)) == ("two", 2)


def test_a_key_is_unknown_for_good_once_a_set_that_was_asked_for_later_lacks_it() -> None:
    ring = filled(KEYS_URL, key_set(one=SIGNER_KEY))

    assert ring.key(KEYS_URL, "two", NOON) is None
    with pytest.raises(NotReady):
        ring.key(KEYS_URL, "two", NOON + timedelta(microseconds=1))


def test_a_set_that_was_asked_for_before_the_request_came_says_nothing_about_its_key() -> None:
    """The fetch of somebody else was under way; the issuer may have published the key between."""
    shelf = Shelf({KEYS_URL: key_set(one=SIGNER_KEY)})
    came = NOON + timedelta(seconds=2)

    async def slow(url: str) -> bytes:
        found = await shelf.fetch(url)
        shelf.now = came + timedelta(seconds=1)
        return found

    ring = Keyring(slow, lambda: shelf.now)
    asyncio.run(ring.fill(KEYS_URL))

    with pytest.raises(NotReady):
        ring.key(KEYS_URL, "two", came)


def test_a_certificate_is_no_key_set_and_a_key_set_no_certificate() -> None:
    """What stands there is told, and looked at once more after a minute, for a person may have mended it."""
    shelf = Shelf({KEYS_URL: key_set(one=SIGNER_KEY), CERT_URL: pem(SIGNER)})
    ring = shelf.ring()
    asyncio.run(ring.fill(KEYS_URL))
    asyncio.run(ring.fill(CERT_URL))

    with pytest.raises(NotReady, match="where a provider's certificate should be there is a key set"):
        ring.certificate(KEYS_URL)
    with pytest.raises(NotReady, match="the scheme's keys holds a certificate; enter the issuer's jwks_uri"):
        ring.key_set(CERT_URL)
    shelf.now += timedelta(minutes=1)
    for look_up, url in ((ring.certificate, KEYS_URL), (ring.key_set, CERT_URL)):
        with pytest.raises(KeyWanted):
            look_up(url)


def test_callers_at_the_same_time_share_one_fetch() -> None:
    shelf = Shelf({CERT_URL: pem(SIGNER), KEYS_URL: key_set(one=SIGNER_KEY)})
    ring = shelf.ring()

    async def all_at_once() -> None:
        await asyncio.gather(*(ring.fill(url) for url in [CERT_URL, KEYS_URL] * 20))

    asyncio.run(all_at_once())

    assert sorted(shelf.asked) == sorted([CERT_URL, KEYS_URL])


def test_a_caller_who_hangs_up_does_not_end_the_fetch_of_the_others() -> None:
    asked, arrived = [], asyncio.Event()

    async def slow(url: str) -> bytes:
        asked.append(url)
        await arrived.wait()
        return pem(SIGNER)

    ring = Keyring(slow, lambda: NOON)

    async def first_leaves() -> None:
        first, second = (asyncio.create_task(ring.fill(CERT_URL)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        arrived.set()
        await second

    asyncio.run(first_leaves())

    assert (ring.certificate(CERT_URL), asked) == (SIGNER, [CERT_URL])


def test_a_failed_fetch_is_not_tried_again_for_half_a_minute() -> None:
    shelf = Shelf({CERT_URL: "the host did not answer"})
    ring = shelf.ring()
    told = "a provider's public key could not be fetched: the host did not answer"

    with pytest.raises(NotReady, match=told):
        asyncio.run(ring.fill(CERT_URL))
    shelf.standing[CERT_URL] = pem(SIGNER)
    shelf.now = NOON + timedelta(seconds=29)
    with pytest.raises(NotReady, match=told):
        asyncio.run(ring.fill(CERT_URL))
    assert len(shelf.asked) == 1

    shelf.now = NOON + timedelta(seconds=30)
    asyncio.run(ring.fill(CERT_URL))
    assert ring.certificate(CERT_URL) == SIGNER


def test_a_key_set_that_cannot_be_fetched_again_goes_on_proving_with_the_keys_it_has() -> None:
    shelf = Shelf({KEYS_URL: key_set(one=SIGNER_KEY)})
    ring = shelf.ring()
    asyncio.run(ring.fill(KEYS_URL))
    shelf.standing[KEYS_URL] = "the host did not answer"
    shelf.now = NOON + timedelta(minutes=5)

    with pytest.raises(NotReady):
        asyncio.run(ring.fill(KEYS_URL))

    assert [key.key_id for key in ring.key_set(KEYS_URL)] == ["one"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (pem(SIGNER) + b"\n" * 70_000, "the answer has more than 65536 bytes"),
        (b"<html>here</html>", "the answer is neither a certificate in PEM nor a key set, but a page for people"),
        (b"", "the answer is neither a certificate in PEM nor a key set"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "the answer is neither a certificate in PEM"),
        (b'{"keys": []}', "the answer is no key set with a key that can be used"),
        (b'{"keys": 7}', "the answer is no key set"),
        (b'{"keys": [1]}', "the answer is no key set"),
        (b'{"keys": [{"kty": "RSA", "alg": ["RS256"]}]}', "the answer is no key set"),
        (b'{"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]}', "the answer is no key set"),
        (b'{"issuer": "x", "jwks_uri": "https://x"}', "the answer is the issuer's configuration; enter the jwks_uri"),
        (b'{"keys": [{"kty": "RSA", "kid": "one"}]}', "the answer is no key set"),
        (b'{"keys": ', "the answer is no key set"),
        (b'{"a":' * 20_000 + b"1" + b"}" * 5_000, "the answer has more than"),
        (b'{"a":' * 10_000, "the answer is no key set"),
    ],
)  # fmt: skip
def test_what_is_no_key_counts_as_a_failed_fetch(content: bytes, problem: str) -> None:
    shelf = Shelf({CERT_URL: content})
    ring = shelf.ring()

    for _ in range(2):
        with pytest.raises(NotReady, match=f"a provider's public key could not be fetched: {problem}"):
            asyncio.run(ring.fill(CERT_URL))

    assert len(shelf.asked) == 1


def test_the_clock_is_the_machine_s_own_unless_another_is_given() -> None:
    ring = Keyring(Shelf({KEYS_URL: key_set(one=SIGNER_KEY)}).fetch)

    asyncio.run(ring.fill(KEYS_URL))

    assert [key.key_id for key in ring.key_set(KEYS_URL)] == ["one"]


@pytest.mark.parametrize("content", [key_set(one=SIGNER_KEY), "the host did not answer"], ids=["held", "failed"])
def test_the_keyring_never_grows_past_its_bound(content: bytes | str) -> None:
    urls = [f"https://login.example.com/{n}" for n in range(keyring.MOST_ENTRIES + 1)]
    shelf = Shelf(dict.fromkeys(urls, content))
    ring = shelf.ring()

    async def fill_all() -> None:
        for url in [*urls, urls[0], urls[-1]]:
            await asyncio.gather(ring.fill(url), return_exceptions=True)

    asyncio.run(fill_all())

    assert shelf.asked == [*urls, urls[0]], "the oldest was forgotten, the youngest was not"
