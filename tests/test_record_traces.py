"""How a person is found in what others wrote, and struck out of it."""

from base64 import b64encode, urlsafe_b64encode

import pytest
import sqlalchemy as sa

from app.record.database import Database
from app.record.searching import PLACES, search
from app.record.tables import raw_requests
from app.record.traces import Traces
from tests.heard import NOON

BOB = Traces("+14155550101")
SOMEBODY = Traces("messenger:Bob.Smith_1")


@pytest.mark.parametrize(
    "written",
    [
        "from=%2B14155550101&to=1", "from=%2014155550101", "%22from%22%3A%2214155550101%22", '{"from": 14155550101}',
        '"0014155550101"', "4155550101", "04155550101", "whatsapp:+14155550101", "+14155550101",
    ],
)  # fmt: skip
def test_a_number_is_known_in_each_spelling(written: str) -> None:
    assert BOB.name(written.encode())


@pytest.mark.parametrize("written", ["114155550101", "141555501012", "41555501", "+44155550101"])
def test_more_digits_are_another_number(written: str) -> None:
    assert not BOB.name(written.encode())


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
def test_a_number_within_base64_is_found(before: str, encode: object) -> None:
    data = encode(f'{before}{{"phone":"+14155550101","text":"?>?>"}}'.encode())  # type: ignore[operator]

    assert BOB.hide(data)
    assert not Traces("+14155550102").hide(data)


def test_only_what_is_certain_is_struck_out_and_an_id_that_holds_the_number_too() -> None:
    wamid = b64encode(b"HB\x18\x0b14155550101\x15\x02")
    data = (
        b'[{"from":"14155550101","id":"wamid.' + wamid + b'"},{"id":"4155550101","from":"141555501019","text":"STOP"}]'
    )

    struck = BOB.struck(data)

    assert len(struck) == len(data)
    assert (b'"14155550101"' in struck, BOB.hide(struck)) == (False, False)
    assert struck.endswith(b'{"id":"4155550101","from":"141555501019","text":"STOP"}]')


def test_other_identities_are_found_as_a_whole() -> None:
    assert SOMEBODY.name(b'{"psid":"Bob.Smith_1"}')
    assert not SOMEBODY.name(b'{"psid":"Bob.Smith_12"}')
    assert not Traces("messenger:7").name(b'{"psid":"7"}')
    assert Traces("messenger:7").name(b"r|meta|1|messenger:7|read||")
    assert Traces("mail:bob@example.com").name(b"from=bob%40example.com&x=1")


def test_the_database_finds_them_page_by_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [
        b"From=%2B14155550101", b"From=%2B14155550102", b64encode(b"x+14155550101"), b"id=914155550101",
        b"\xff\x0014155550101",
    ]  # fmt: skip
    usual = {"webhook": "acme", "received_at": NOON, "method": "POST", "client": "", "signature": "", "reading": "events",
             "problem": ""}  # fmt: skip
    rows = [
        usual | {"id": number, "target": "/in/…", "headers": "{}", "body": body}
        for number, body in enumerate(bodies, 1)
    ]
    rows.append(usual | {"id": 9, "target": "/in/…?msisdn=14155550101", "headers": "{}", "body": b""})
    rows.append(usual | {"id": 10, "target": "/in/…", "headers": '{"x-from": "+14155550101"}', "body": b""})
    database.write_now(lambda conn: conn.execute(sa.insert(raw_requests), rows))
    place, found, after = PLACES["requests"]._replace(page=2), [], None

    while True:
        page = database.read_now(lambda conn, after=after: search(conn, place, BOB, after))  # type: ignore[misc]
        found += page.keys
        after = page.end
        if after is None:
            break

    assert found == [1, 3, 5, 9, 10]
