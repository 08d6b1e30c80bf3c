"""Erasing a person through the real application: nothing of them is left, and their STOP stays effective."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa

from app.errors import BadInput
from app.events import ConsentState, Standing
from app.main import _prepare_schema
from app.record import erasure, generations, housekeeping, keys, outbox, refusals, tables
from app.record.database import Database
from app.record.erasure import Asked
from app.record.people import People
from app.record.standings import holding
from app.settings import Settings
from tests import fake_provider
from tests.fake_provider import FakeProvider, Reply, answer
from tests.serving import Answer, Served, serving

ALICE, BOB, CHARLIE = "+14155550100", "+14155550101", "+14155550102"
COMPANY = "+14155550199"
KEY = "an-evidence-key-of-32-characters-or-more"
GONE = {"state": "opted_out", "may_send": False}
PART = "?msisdn=14155550101&to=14155550199&messageId=0A1&text=half+a+secret&type=text&concat=true&concat-ref=7&concat-total=2&concat-part=1"


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


@contextmanager
def house(database_url: str, provider: FakeProvider, **given: Any) -> Iterator[Served]:
    """A running server with a webhook that hears batches and answers through the provider."""
    usual = {"send": True, "evidence_key": KEY, "allowed_private_destinations": ["127.0.0.1"]}
    with serving(database_url, **usual | given) as served:
        auth = {"type": "basic", "username": "AC0123", "password": "secret"}
        credential = {"name": "acme", "provider": "twilio", "app_id": "AC0123", "auth": auth, "url": provider.url}
        webhook = {
            "name": "acme", "provider": "infobip", "type": "both", "scheme": {"type": "token"}, "credential": "acme",
            "sender": COMPANY, "keywords": {"default": {"reply": "Thanks!"}},
        }  # fmt: skip
        if served.ask("GET", "/v1/webhooks/acme").status == 404:
            assert served.ask("POST", "/v1/credentials", credential).status == 201
            assert served.ask("POST", "/v1/webhooks", webhook).status == 201
        yield served


def door(served: Served, name: str = "acme") -> str:
    return urlsplit(served.ask("GET", f"/v1/webhooks/{name}").json["url"]).path


def tell(served: Served, *results: dict[str, Any], name: str = "acme") -> None:
    assert served.ask("POST", door(served, name), {"results": list(results)}, token=None).status == 200


_number = iter(range(1, 1_000_000))


def said(text: str, who: str = BOB) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")
    return {"messageId": f"M{next(_number)}", "from": who[1:], "to": COMPANY[1:], "receivedAt": at, "text": text}


def delivered(who: str, message_id: str) -> dict[str, Any]:
    return {
        "messageId": message_id, "to": who[1:], "doneAt": "2026-11-22T12:00:00.000+0000",
        "status": {"name": "DELIVERED_TO_HANDSET", "groupName": "DELIVERED"},
    }  # fmt: skip


def erase(served: Served, who: str = BOB, **more: Any) -> Answer:
    return served.ask("POST", "/v1/erasures", {"address": who, "reason": "a letter", "actor": "dora"} | more)


def standing(served: Served, who: str = BOB, program: str = "default") -> dict[str, Any]:
    """What both ways to ask answer."""
    one = served.ask("GET", f"/v1/consent/{who}?program={program}").json
    (many,) = served.ask("POST", "/v1/consent/check", {"addresses": [who], "program": program}).json["results"]
    assert one == many
    return {name: one[name] for name in ("state", "may_send")}


def rows(served: Served, *columns: "sa.Column[Any]") -> list[tuple[Any, ...]]:
    query = sa.select(*columns).order_by(columns[0])
    return served.parts.database.read_now(lambda conn: [tuple(row) for row in conn.execute(query)])


def until(what: Callable[[], Any]) -> Any:
    for _ in range(1000):
        if found := what():
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")


def settled(served: Served, count: int) -> None:
    """Until so many replies have ended."""
    ended = {"sent", "cancelled", "failed"}
    until(
        lambda: (
            len([row for row in rows(served, tables.outbox.c.id, tables.outbox.c.state) if row[1] in ended]) == count
        )
    )


def dump(served: Served) -> str:
    """Every row of every table."""

    def read(conn: sa.Connection) -> str:
        found = [
            (name, *row) for name in tables.metadata.tables for row in conn.exec_driver_sql(f"SELECT * FROM {name}")
        ]
        return "\n".join(" ".join(_shown(value) for value in row) for row in found)

    return served.parts.database.read_now(read)


def _shown(value: Any) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | memoryview) else str(value)


def files(served: Served) -> bytes:
    """The bytes of the database's files, where it has some."""
    url = served.parts.database.url
    if url.get_backend_name() != "sqlite":
        return b""
    file = Path(str(url.database))
    return b"".join(path.read_bytes() for path in (file, Path(f"{file}-wal")) if path.exists())


def live_through_everything(served: Served, provider: FakeProvider) -> None:
    """Bob leaves a trace in every table that there is."""
    audience = {"name": "named", "condition": "$exists(profile.firstName)"}
    assert served.ask("POST", "/v1/audiences", audience).status == 201
    vonage = {"name": "vonage", "provider": "vonage", "type": "inbound", "scheme": {"type": "token"}}
    assert served.ask("POST", "/v1/webhooks", vonage).status == 201
    tell(served, said("my doctor says I am ill"))
    settled(served, 1)
    tell(served, said("of Alice's nobody forgets", ALICE), said("STOP"))
    tell(served, delivered(BOB, "X1"), delivered(ALICE, "X2"))
    tell(served, delivered(BOB, "X3"))
    tell(served, said("a broken id of Bob's") | {"messageId": "M" * 700}, said("Hello", ALICE))
    assert served.ask("POST", door(served), {"unheard": [{"f": BOB[1:]}, {"f": ALICE[1:]}]}, token=None).status == 200
    assert served.ask("GET", door(served, "vonage") + PART, token=None).status == 200
    linked = {"ecid": "77", "address": BOB, "linked_at": datetime.now(UTC)}
    served.write(lambda conn: conn.execute(tables.identities.insert(), linked))
    attributes = {"attributes": {"firstName": "Robert"}, "source": "crm"}
    assert served.ask("PUT", f"/v1/profiles/{BOB}", attributes).status == 200
    refusal = (
        "acme",
        datetime.now(UTC),
        "no signature",
        "POST",
        "/in/…",
        {},
        b"from=%2B14155550101&text=ill",
        "10.0.0.1",
    )
    served.write(lambda conn: housekeeping.keep_refusals(conn, [refusal], 10))
    settled(served, 3)


def test_after_an_erasure_nothing_of_the_person_is_left(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider) as served:
        live_through_everything(served, provider)
        ledger = rows(served, *tables.ledger.c)
        named = dump(served)

        counts = erase(served).json

        left, held = dump(served), files(served)
        assert len(ledger) == 1
        assert rows(served, *tables.ledger.c) == ledger
        for trace in ("4155550101", "doctor", "broken id", "half a secret", "Robert", "text=ill"):
            assert trace in named
            assert trace not in left
            assert trace.encode() not in held
        assert "of Alice's nobody forgets" in left
        assert rows(served, tables.messages.c.recipient) == [(ALICE,), (ALICE,)]  # X2, and what she was answered
        assert {name for name, count in counts.items() if count} == {
            "suppressed", "consent", "evidence", "inbound", "parts", "replies", "messages", "receipts", "attributes",
            "guards", "requests", "struck", "work_list", "refused", "keys", "audiences", "browsers",
        }  # fmt: skip
        assert standing(served) == GONE
        ((person, actor, reason),) = rows(
            served, tables.erasures.c.person, tables.erasures.c.actor, tables.erasures.c.reason
        )
        assert (len(person), actor, reason) == (64, "dora", "a letter")


def test_what_nobody_has_understood_is_kept_for_the_others_in_it(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider) as served:
        body = {"unheard": [{"f": BOB[1:]}, {"f": ALICE[1:], "t": "STOP"}]}
        served.ask("POST", door(served), body, token=None)

        counts = erase(served).json

        ((reading, found, problem),) = rows(
            served, tables.raw_requests.c.reading, tables.raw_requests.c.body, tables.raw_requests.c.problem
        )
        assert (counts["struck"], counts["requests"], reading) == (1, 0, "undecoded")
        assert bytes(found).decode() == '{"unheard": [{"f": "00000000000"}, {"f": "14155550100", "t": "STOP"}]}'
        assert problem.endswith("digits are struck out, because a person in it was erased")


def test_who_was_erased_is_silent_until_a_start_and_then_begins_anew(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider) as served:
        tell(served, said("STOP"))
        settled(served, 1)
        erase(served)
        provider.requests.clear()

        tell(served, said("hello"))
        silent, reply = standing(served), rows(served, tables.inbound_messages.c.reply)
        tell(served, said("START"))
        until(lambda: provider.requests)
        again = standing(served)
        tell(served, said("STOP"))
        settled(served, 2)

        assert (silent, reply) == (GONE, [("opted out",)])
        assert again == {"state": "opted_in", "may_send": True}
        assert standing(served) == GONE
        assert [(row[1], row[2]) for row in rows(served, tables.ledger.c.id, tables.ledger.c.old_state, tables.ledger.c.new_state)] == [
            ("unknown", "opted_out"),
            ("opted_out", "opted_in"),
            ("opted_in", "opted_out"),
        ]  # fmt: skip

        second = erase(served).json

        assert (standing(served), second["suppressed"], second["inbound"]) == (GONE, 1, 3)
        assert "4155550101" not in dump(served)
        assert b"4155550101" not in files(served)


def test_who_had_opted_in_is_unknown_after_an_erasure(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider, unknown_consent="deny") as served:
        tell(served, said("START"))
        settled(served, 1)

        counts = erase(served).json

        assert (standing(served), counts["suppressed"]) == ({"state": "unknown", "may_send": False}, 0)


def test_who_came_back_and_is_erased_again_is_unknown(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider) as served:
        tell(served, said("STOP"))
        erase(served)
        tell(served, said("START"))

        erase(served)

        assert standing(served)["state"] == "unknown"


def test_each_program_keeps_what_holds_in_it(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider) as served:
        for state, program in (("opted_out", "*"), ("pending", "news"), ("opted_in", "shop")):
            change = {"state": state, "program": program, "reason": "by phone", "actor": "dora"}
            assert served.ask("PUT", f"/v1/consent/{BOB}", change).status == 200
        before = {program: standing(served, program=program)["state"] for program in ("news", "shop", "other")}

        counts = erase(served).json

        assert before == {"news": "pending", "shop": "opted_in", "other": "opted_out"}
        assert counts["suppressed"] == 2
        # of shop only the opt-in is forgotten, and what was said of all programs holds again
        assert [standing(served, program=program)["state"] for program in ("news", "shop", "other")] == [
            "pending", "opted_out", "opted_out",
        ]  # fmt: skip
        assert served.ask("POST", "/v1/credentials/acme/verify", {"number": BOB, "message": "Hi"}).status == 409


def test_another_secret_key_changes_nothing(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider) as served:
        tell(served, said("STOP"))
        erase(served)
    old = "a-secret-key-of-32-characters-or-more"

    with house(database_url, provider, secret_key=f"another-key-with-32-characters-or-more,{old}") as served:
        assert standing(served) == GONE


@pytest.mark.parametrize(
    ("evidence_key", "sentence"), [(None, "is not set"), ("x" * 40, "is not the key under which people were erased")]
)
def test_without_the_key_nothing_starts_and_nobody_may_be_written_to(
    database_url: str, provider: FakeProvider, evidence_key: str | None, sentence: str
) -> None:
    with house(database_url, provider) as served:
        tell(served, said("STOP"))
        erase(served)
    wrong = {"evidence_key": evidence_key, "secret_key": "a-secret-key-of-32-characters-or-more"}

    with pytest.raises(BadInput, match=sentence):
        _prepare_schema(Settings(database_url=database_url, **wrong), migrate=False)
    with house(database_url, provider, **wrong) as served:  # a node that ran already when the first was erased
        answers = [
            served.ask("GET", f"/v1/consent/{BOB}"),
            served.ask("POST", "/v1/consent/check", {"addresses": [ALICE]}),
            served.ask("POST", door(served), {"results": [said("START")]}, token=None),
        ]
        refused = erase(served, ALICE)

        # what is heard waits in the spool of a node on PostgreSQL, until the key is mended
        assert [answer.status for answer in answers] == [503, 503, 200 if served.parts.intake.has_spool else 503]
        assert sentence in answers[0].json["detail"]
        assert (refused.status, sentence in refused.json["detail"]) == (422, True)
        assert rows(served, tables.consent.c.address) == []


def test_an_erasure_without_a_key_says_how_to_get_one(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider, evidence_key=None) as served:
        tell(served, said("STOP"))

        refused = erase(served)

        assert refused.status == 422
        assert "make one with: openssl rand -hex 32" in refused.json["detail"]
        assert rows(served, tables.consent.c.address) == [(BOB,)]


def test_a_reason_that_names_the_person_is_refused(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider) as served:
        refused = erase(served, reason="Mr 415 of 4155550101 asked")

        assert refused.status == 422
        assert "say it without the number" in refused.json["detail"]


def test_of_a_reply_in_flight_nothing_is_written(database_url: str, provider: FakeProvider) -> None:
    provider.judge = lambda _: Reply(answer(201, {"sid": "SM1"}).data, pause=1.0)
    with house(database_url, provider) as served:
        tell(served, said("STOP"))
        until(lambda: provider.requests)

        counts = erase(served).json
        sending = rows(served, tables.outbox.c.id)
        time.sleep(1.3)  # the provider's answer has come by then

        assert (counts["replies"], sending) == (1, [])
        assert rows(served, tables.messages.c.recipient) == []
        assert "4155550101" not in dump(served)


def test_an_erasure_that_was_broken_off_is_finished_by_another(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider) as served:
        live_through_everything(served, provider)
        asked = Asked(BOB, "dora", "a letter", datetime.now(UTC))

        served.write(lambda conn: erasure.suppress(conn, asked))  # and then it is killed
        meanwhile = standing(served)
        erase(served)

        assert meanwhile == standing(served) == GONE
        assert "4155550101" not in dump(served)
        assert "doctor" not in dump(served)


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_who_was_erased_at_one_node_is_suppressed_at_the_other(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider) as one, house(database_url, provider) as other:
        tell(one, said("STOP"))
        settled(one, 1)
        tell(other, said("hello"))
        erase(one)

        tell(other, said("hello"))

        assert standing(other) == GONE
        assert rows(other, tables.inbound_messages.c.reply) == [("opted out",)]
        tell(other, said("START"))
        assert standing(one) == {"state": "opted_in", "may_send": True}


def test_a_row_that_was_brought_back_does_not_end_a_suppression(database_url: str, provider: FakeProvider) -> None:
    """Somebody restores an old list with SQL, and a reply that had waited in it."""
    with house(database_url, provider, send=False) as served:
        tell(served, said("START"), said("hello"))
        old = served.parts.database.read_now(lambda conn: conn.execute(sa.select(tables.consent)).mappings().one())
        reply = served.parts.database.read_now(lambda conn: conn.execute(sa.select(tables.outbox)).mappings().first())
        tell(served, said("STOP"))
        erase(served)

        def restore(conn: sa.Connection) -> list[Any]:
            conn.execute(tables.consent.insert(), dict(old))
            conn.execute(tables.outbox.insert(), dict(reply or {}))
            now = datetime.now(UTC)
            return outbox.claim(conn, now, now + timedelta(minutes=1), 10) or []

        (due,) = served.write(restore)

        assert standing(served) == GONE
        assert due.own.state is ConsentState.OPTED_OUT


def test_the_rule_of_two_rows() -> None:
    early, late = datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)
    out = Standing(ConsentState.OPTED_OUT, early, early, "keyword", True)
    back = Standing(ConsentState.OPTED_IN, late, late, "keyword")
    pending = Standing(ConsentState.PENDING, late, late, "keyword")

    assert holding(Standing(), out) == out
    assert holding(back, out) == back
    assert holding(back._replace(as_of=early), out) == out
    assert holding(out, pending) == out


def test_a_person_is_known_by_a_keyed_hash() -> None:
    one, other = People(b"1" * 32), People(b"2" * 32)

    assert one.person(BOB) == one.person(BOB)
    assert len({one.person(BOB), one.person(ALICE), other.person(BOB), one.check, other.check}) == 5


def test_where_another_item_could_not_be_read_it_is_kept(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider) as served:
        tell(served, said("Bob is heard"), said("STOP", ALICE) | {"messageId": "M" * 700})

        counts = erase(served).json

        ((body, reading),) = rows(served, tables.raw_requests.c.body, tables.raw_requests.c.reading)
        assert (counts["struck"], counts["inbound"], reading) == (1, 1, "undecoded")
        assert BOB[1:].encode() not in bytes(body)
        assert ALICE[1:].encode() in bytes(body)


def test_a_confirmation_that_could_not_leave_any_more_is_made_up_for(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider, send=False) as served:
        tell(served, said("STOP"))
        erase(served)

        tell(served, said("STOP"))

        assert rows(served, tables.outbox.c.category, tables.outbox.c.state) == [("opt_out", "pending")]


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_stop_that_is_being_written_at_another_node_is_waited_for(database_url: str, provider: FakeProvider) -> None:
    other, written, go_on = Database(database_url, evidence_key=KEY), threading.Event(), threading.Event()
    row = {
        "program": "default", "address": BOB, "state": "opted_out", "since": datetime.now(UTC), "cause": "keyword",
        "as_of": datetime.now(UTC), "ledger_id": 1, "confirmed": True,
    }  # fmt: skip

    def write(conn: sa.Connection) -> None:
        keys.hold(conn, [BOB])  # as a batch does with whom it is about
        conn.execute(tables.consent.insert(), row)
        written.set()
        assert go_on.wait(20)

    with house(database_url, provider) as served, ThreadPoolExecutor(2) as threads:
        writing = threads.submit(other.write_now, write)
        assert written.wait(20)
        erasing = threads.submit(erase, served)
        time.sleep(0.2)
        waits = not erasing.done()
        go_on.set()
        writing.result(20)

        assert waits
        assert erasing.result(20).json["suppressed"] == 1
        assert standing(served) == GONE
    other.close()


def test_a_sender_is_nobody_to_be_erased(database_url: str, provider: FakeProvider) -> None:
    with house(database_url, provider) as served:
        refused = [erase(served, "short:12345"), erase(served, "alpha:acme"), erase(served, "12")]

        assert [answer.status for answer in refused] == [422, 422, 422]
        assert rows(served, tables.erasures.c.id) == []


# --- what is called and told --------------------------------------------------------------------------------------


def test_nothing_is_left_in_what_is_called_and_told(database_url: str, provider: FakeProvider) -> None:
    """A call that is about nobody names him, a receiver has quoted him, and a rebuild has just come to him."""
    now = datetime.now(UTC)
    with house(database_url, provider) as served:
        tell(served, said("my doctor says I am ill"), said("of Alice's nobody forgets", ALICE))
        tell(served, delivered(BOB, "X1"))
        served.write(lambda conn: tell_of_him(conn, now))
        served.write(lambda conn: generations.put(conn, generations.Generation(7, 7, source="gone", after=[BOB]), now))
        named = dump(served)

        counts = erase(served).json

        left = dump(served)
        assert (counts["calls"], counts["refusals"]) == (1, 2)
        for trace in ("4155550101", "the doctor is unknown here", "the receipt is unknown here"):
            assert trace in named
            assert trace not in left
            assert trace.encode() not in files(served)
        assert "Alice is unknown here" in left
        assert rows(served, tables.action_calls.c.action) == [("other",)]
        assert served.parts.database.read_now(generations.read) == generations.Generation(7, 7, source="gone")


def tell_of_him(conn: sa.Connection, now: datetime) -> None:
    table = tables.inbound_messages
    said_by = {row.address: row.id for row in conn.execute(sa.select(table.c.address, table.c.id))}
    row = {"trigger": "document", "webhook": "", "program": "", "address": "", "state": "done", "created_at": now,
           "next_at": now, "deadline": now}  # fmt: skip
    for number, fields in enumerate((f'{{"username": "{BOB}"}}', '{"documentId": "1234155550109234"}')):
        action = "other" if number else "document"
        conn.execute(tables.action_calls.insert(), {**row, "id": number, "action": action, "fields": fields})
    receipt = conn.execute(sa.select(tables.receipts.c.id)).scalar_one()
    for source, row_id, reason in (
        ("inbound", said_by[BOB], "the doctor is unknown here"),
        ("receipt", receipt, "the receipt is unknown here"),
        ("inbound", said_by[ALICE], "Alice is unknown here"),
    ):
        refusals.add(conn, "crm", [refusals.Refused(source, row_id, "e1", reason)], now)


def test_a_rebuild_that_comes_to_them_meanwhile_leaves_nothing(database_url: str, provider: FakeProvider) -> None:
    """What was heard of a person is still there for a while, and so a rebuild finds them."""
    now = datetime.now(UTC)
    with house(database_url, provider) as served:
        audience = {"name": "named", "condition": "inbound.count > 0"}
        assert served.ask("POST", "/v1/audiences", audience).status == 201
        member = {"address": BOB, "audiences": " named ", "generation": 1, "computed_at": now}

        def found(conn: sa.Connection) -> None:
            conn.execute(tables.memberships.insert(), member)
            conn.execute(tables.person_messages.insert(), {"address": BOB, "message_id": 1})

        served.write(found)
        served.write(lambda conn: erasure.leave_audiences(conn, BOB, now))
        assert BOB not in dump(served)

        tell(served, said("back again"))
        served.write(lambda conn: erasure.leave_audiences(conn, BOB, now))
        until(lambda: (BOB, " named ") in rows(served, tables.memberships.c.address, tables.memberships.c.audiences))
