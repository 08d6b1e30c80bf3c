"""Where outgoing calls may go."""

import asyncio
from collections.abc import Sequence

import pytest

from app.errors import BadInput, SendFailed
from app.send.destinations import Destinations, Origin, Place, place


class Names:
    """A resolver that answers from a list, one answer per question."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        await asyncio.sleep(0)
        if not self.answers:
            raise OSError("Name or service not known")
        return self.answers.pop(0)


def addresses(url: str, *found: str, allowed: tuple[str, ...] = ()) -> tuple[str, ...]:
    guard = Destinations(allowed, resolve=Names(found)) if found else Destinations(allowed)
    return asyncio.run(_ask(guard, url))


async def _ask(guard: Destinations, url: str) -> tuple[str, ...]:
    return await guard.addresses(place(url).origin)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",  # carrier-grade NAT
        "100.100.100.200",  # Alibaba's metadata
        "169.254.169.254",  # AWS's, Google's, Azure's metadata
        "168.63.129.16",  # Azure's wire server, a public address by the letter
        "192.0.0.192",  # Oracle's metadata
        "198.18.0.1",
        "192.0.2.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "2001:0:7f00:1::",  # Teredo
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fc00::1",
        "fd00:ec2::254",  # AWS's metadata
        "ff02::1",
        "2001:db8::1",
        "100::1",
    ],
)
def test_no_call_goes_into_a_machine_room(address: str) -> None:
    with pytest.raises(SendFailed, match=r"api\.example\.com is a private address") as caught:
        addresses("https://api.example.com/", address)

    assert caught.value.permanent


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_a_public_address_may_be_called(address: str) -> None:
    assert addresses("https://api.example.com/", address) == (address,)


def test_one_private_address_among_public_ones_forbids_all() -> None:
    with pytest.raises(SendFailed, match="private"):
        addresses("https://api.example.com/", "8.8.8.8", "10.0.0.1")


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "LOCALHOST", "[::1]", "[::ffff:7f00:1]"]
)
def test_odd_spellings_of_an_address_are_judged_by_what_they_mean(host: str) -> None:
    with pytest.raises(SendFailed, match="private"):
        addresses(f"https://{host}/")


def test_plain_http_is_for_allowed_hosts_only() -> None:
    with pytest.raises(SendFailed, match="plain http"):
        addresses("http://api.example.com/", "8.8.8.8")


@pytest.mark.parametrize(
    ("url", "address", "allowed"),
    [
        pytest.param("http://kannel.internal:13013/", "10.0.0.7", "kannel.internal", id="host"),
        pytest.param("http://Kannel.Internal./", "10.0.0.7", "KANNEL.internal", id="host, spelt otherwise"),
        pytest.param("http://kannel.internal/", "10.0.0.7", "10.0.0.0/8", id="CIDR"),
        pytest.param("http://kannel.internal/", "10.0.0.7", "10.0.0.7", id="address"),
        pytest.param("http://kannel.internal/", "::ffff:10.0.0.7", "10.0.0.0/8", id="CIDR, address mapped to IPv6"),
        pytest.param("https://kannel.internal/", "fd00::7", "fd00::/8", id="CIDR of IPv6"),
        pytest.param("https://[fd00::7]/", "fd00::7", "[fd00::7]", id="address in brackets"),
    ],
)
def test_what_the_operator_allows_may_be_called(url: str, address: str, allowed: str) -> None:
    assert addresses(url, address, allowed=(allowed,)) == (address,)


def test_an_allowed_host_allows_no_other() -> None:
    with pytest.raises(SendFailed, match="private"):
        addresses("https://evil.internal/", "10.0.0.8", allowed=("kannel.internal", "10.0.0.7"))


def test_an_allowed_destination_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput, match=r"'10\.0\.0\.0/99' in ALLOWED_PRIVATE_DESTINATIONS"):
        Destinations(["10.0.0.0/99"])


def test_an_answer_of_the_dns_is_kept_so_that_a_change_a_moment_later_leads_nowhere() -> None:
    names = Names(["8.8.8.8"], ["10.0.0.1"])
    guard = Destinations(resolve=names)

    async def story() -> list[tuple[str, ...]]:
        return [await _ask(guard, "https://api.example.com/") for _ in range(3)]

    assert asyncio.run(story()) == [("8.8.8.8",)] * 3
    assert names.asked == [("api.example.com", 443)]


def test_a_burst_asks_the_dns_once() -> None:
    names = Names(["8.8.8.8"])
    guard = Destinations(resolve=names)

    async def story() -> list[tuple[str, ...]]:
        return await asyncio.gather(*(_ask(guard, "https://api.example.com/") for _ in range(50)))

    assert asyncio.run(story()) == [("8.8.8.8",)] * 50
    assert len(names.asked) == 1


def test_a_failed_look_up_is_asked_again_and_is_no_final_failure() -> None:
    names = Names()
    guard = Destinations(resolve=names)

    async def story() -> list[SendFailed]:
        failures = []
        for _ in range(2):
            with pytest.raises(SendFailed, match="not found in the DNS") as caught:
                await _ask(guard, "https://api.example.com/")
            failures.append(caught.value)
        return failures

    failures = asyncio.run(story())

    assert [(failure.permanent, failure.departed) for failure in failures] == [(False, False)] * 2
    assert len(names.asked) == 2


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://api.example.com", Place(Origin("https", "api.example.com", 443), "api.example.com", "/")),
        ("https://API.example.com:443/a", Place(Origin("https", "api.example.com", 443), "api.example.com", "/a")),
        ("http://h:8080/a?b=c#d", Place(Origin("http", "h", 8080), "h:8080", "/a?b=c")),
        ("https://h?b=c", Place(Origin("https", "h", 443), "h", "/?b=c")),
        ("https://[2606:4700::1]:8443/", Place(Origin("https", "2606:4700::1", 8443), "[2606:4700::1]:8443", "/")),
    ],
)
def test_a_url_is_taken_apart(url: str, found: Place) -> None:
    assert place(url) == found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.com/x",
        "//api.example.com/x",
        "ftp://api.example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///x",
        "https://user@api.example.com/",
        "https://user:password@api.example.com/",
        "https://api.example.com@evil.example/",
        "https://api.example.com\\@evil.example/",
        "https://api.example.com:99999/",
        "https://api.example.com:x/",
        "https://api.example.com/a b",
        "https://api.example.com/\r\nX-Forged: 1",
        "https://api.example.com/\u00e9",
        "https://ⓔvil.example/",
        "https://[::1/",
        "https://a..b/",
        "https://%31%32%37.0.0.1/",
    ],
)
def test_a_url_that_is_not_plain_is_refused(url: str) -> None:
    with pytest.raises(BadInput):
        place(url)
