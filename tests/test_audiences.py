"""Audiences: whoever a condition is true of, kept ready on every path that writes, and never an old answer."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from app.audience import Audience
from app.events import Cause, Change, ConsentState, Status
from app.interpret import audiences, decide
from app.record import (
    batch,
    erasure,
    facts,
    generations,
    ids,
    membership_counts,
    memberships,
    outbox,
    profiles,
    rebuilding,
    registrations,
    tables,
)
from app.record.database import Database
from app.record.vault import Vault
from app.registration import KINDS
from app.serve.audiences import progress_now
from tests.commands import count
from tests.heard import ALICE, BOB, CHARLIE, NOON, heard, inbound, make_rules, receipt

VAULT = Vault("a-secret-key-of-32-characters-or-more")
KIND = KINDS["audience"]
WORK_OUT = partial(audiences.work_out, unknown_consent="allow")
DAILY = make_rules(keywords={"custom": [{"keywords": ["DAILY"], "preference": {"frequency": "daily"}}]})
OUT, IN = 'consent.default.state = "opted_out"', 'consent.default.state = "opted_in"'


def register(database: Database, **conditions: str) -> None:
    def act(conn: sa.Connection) -> None:
        for name, condition in conditions.items():
            registrations.save(conn, VAULT, KIND, Audience(name=name, condition=condition), NOON)

    database.write_now(act)


def unregister(database: Database, name: str) -> None:
    database.write_now(lambda conn: registrations.delete(conn, KIND, name))


def hear(database: Database, *events: object, at: int = 0) -> None:
    written = heard(*events, at=NOON + timedelta(minutes=at), rules=DAILY)  # type: ignore[arg-type]
    database.write_now(lambda conn: batch.write(conn, [written], decide))


def asked(database: Database, address: str = BOB) -> set[str]:
    return set(database.read_now(lambda conn: memberships.of_people(conn, [address], WORK_OUT))[address])


def ready(database: Database, address: str = BOB) -> set[str]:
    """What is stored, whether or not it is stale."""
    query = sa.select(tables.memberships.c.audiences).where(tables.memberships.c.address == address)
    found = database.read_now(lambda conn: conn.execute(query).scalar())
    return set((found or "").split())


def work_off(database: Database) -> int:
    rows = database.read_now(lambda conn: memberships.worked_out(conn, memberships.stale(conn, "", 100), WORK_OUT))
    return database.write_now(lambda conn: memberships.store(conn, rows, NOON))


def step(database: Database) -> bool:
    seen = database.read_now(rebuilding.look)
    return seen is not None and database.write_now(lambda conn: rebuilding.step(conn, seen, NOON))


def rebuild(database: Database) -> None:
    while work_off(database) or step(database):
        continue


def stale(database: Database) -> set[str]:
    return {address for address, _ in database.read_now(lambda conn: memberships.stale(conn, "", 100))}


# --- everybody who is there already -------------------------------------------------------------------------------


def test_everybody_of_whom_something_is_recorded_is_found(database: Database) -> None:
    hear(database, inbound("STOP", address=ALICE))
    hear(database, receipt(Status.DELIVERED, recipient=BOB))
    database.write_now(lambda conn: profiles.put(conn, CHARLIE, {"city": "Basel"}, "crm", NOON))

    register(
        database, out=OUT, reached="messages.delivered = 1", basel='profile.city = "Basel"', wrote="inbound.count > 0"
    )
    rebuild(database)

    assert ready(database, ALICE) == {"out", "wrote"}
    assert ready(database, BOB) == {"reached"}
    assert ready(database, CHARLIE) == {"basel"}
    assert stale(database) == set()
    assert database.read_now(progress_now) == membership_counts.Progress(
        "ready", "", NOON.isoformat(), 0, 3, {"out": 1, "wrote": 1, "reached": 1, "basel": 1}, None
    )


def test_until_a_rebuild_has_reached_somebody_they_are_worked_out_on_the_spot(database: Database) -> None:
    hear(database, inbound("STOP"))
    register(database, out=OUT)
    rebuild(database)

    register(database, all="true")

    assert (ready(database), asked(database)) == ({"out"}, {"out", "all"})


def test_what_is_said_of_an_audience_changes_nobodys_membership(watched: Database) -> None:
    before = watched.read_now(generations.read)
    told = Audience(name="never", condition="false", description="nobody")

    outcome = watched.write_now(lambda conn: registrations.save(conn, VAULT, KIND, told, NOON))

    assert (outcome, watched.read_now(generations.read)) == ("changed", before)


def test_nobody_is_in_an_audience_while_it_is_not_known_which_messages_they_were_sent(database: Database) -> None:
    hear(database, receipt(Status.DELIVERED))
    register(database, silent="messages.sent = 0")

    assert asked(database) == set()
    assert database.read_now(membership_counts.progress).state == "gathering"


def test_a_rebuild_goes_on_page_by_page_where_it_was(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuilding, "PAGE", 1)
    monkeypatch.setattr(rebuilding, "GATHERED", 1)
    for address in (ALICE, BOB, CHARLIE):
        hear(
            database, inbound("STOP", address=address), receipt(Status.DELIVERED, message_id=address, recipient=address)
        )
    register(database, out=OUT, reached="messages.delivered = 1")

    rebuild(database)

    assert [ready(database, address) for address in (ALICE, BOB, CHARLIE)] == [{"out", "reached"}] * 3
    monkeypatch.setattr(membership_counts, "COUNTED", 2)
    assert database.read_now(progress_now).members == {"out": 3, "reached": 3}


def test_who_is_forgotten_in_everything_loses_the_membership(database: Database) -> None:
    database.write_now(lambda conn: profiles.put(conn, BOB, {"city": "Basel"}, "crm", NOON))
    register(database, all="true")
    rebuild(database)

    database.write_now(lambda conn: profiles.forget(conn, BOB))

    assert asked(database) == set()
    rebuild(database)
    assert count(database, tables.memberships) == 0


# --- every path that writes ---------------------------------------------------------------------------------------


def reply_and_mark(database: Database) -> None:
    """A reply that left, as the sender marks it."""

    def act(conn: sa.Connection) -> None:
        due = outbox.claim(conn, NOON, NOON + timedelta(minutes=1), 10)
        assert due
        sent = [outbox.Outcome(row, outbox.State.SENT, "", "twilio", "SM9", NOON) for row in due]
        outbox.mark(conn, sent)

    hear(database, inbound("HELP"))
    work_off(database)
    database.write_now(act)


def change_by_hand(database: Database) -> None:
    hear(database, Change("c|1", BOB, ConsentState.OPTED_IN, Cause.API, actor="me", reason="asked"))


def put(database: Database, **attributes: str) -> None:
    database.write_now(lambda conn: profiles.put(conn, BOB, attributes, "crm", NOON, replace=not attributes))


WRITES: dict[str, tuple[str, Callable[[Database], None]]] = {
    "a STOP": (OUT, lambda database: hear(database, inbound("STOP"))),
    "a preference by keyword": ('profile.frequency = "daily"', lambda database: hear(database, inbound("DAILY"))),
    "a receipt": ("messages.failed = 1", lambda database: hear(database, receipt(Status.FAILED))),
    "a message that says nothing": ("inbound.count = 1", lambda database: hear(database, inbound("hello"))),
    "a reply that left": ("messages.sent = 1", reply_and_mark),
    "a change by hand": (IN, change_by_hand),
    "an attribute": ('profile.city = "Basel"', lambda database: put(database, city="Basel")),
    "an attribute that is deleted": (
        "$not($exists(profile.known))",
        lambda database: database.write_now(lambda conn: profiles.forget(conn, BOB, ["known"])),
    ),
    "an import that replaces": (
        "$not($exists(profile.known))",
        lambda database: database.write_now(lambda conn: profiles.drop_many(conn, [BOB], NOON)),
    ),
    "a profile that is replaced": ("$not($exists(profile.known))", put),
}


@pytest.fixture
def watched(database: Database) -> Database:
    """With BOB known, and an audience in place."""
    put(database, known="yes")
    hear(database, receipt(Status.SENT, message_id="SM0"))
    register(database, never="false")
    rebuild(database)
    return database


@pytest.mark.parametrize("what", WRITES)
def test_membership_follows(what: str, watched: Database) -> None:
    condition, write = WRITES[what]
    register(watched, it=condition.replace("messages.sent = 1", "messages.sent = 2"))
    rebuild(watched)
    assert asked(watched) == ready(watched) == set()

    write(watched)

    assert asked(watched) == {"it"}
    assert (stale(watched), ready(watched)) == ({BOB}, set())
    work_off(watched)
    assert (stale(watched), ready(watched)) == (set(), {"it"})


def test_without_audiences_nothing_is_kept(database: Database) -> None:
    for _, write in WRITES.values():
        write(database)

    assert [count(database, table) for table in (tables.stale_memberships, tables.person_messages)] == [0, 0]


# --- nothing in between is lost -----------------------------------------------------------------------------------


def test_who_changes_while_they_are_worked_out_stays_stale(watched: Database) -> None:
    register(watched, out=OUT, wrote="inbound.count > 0")
    rebuild(watched)
    hear(watched, inbound("hello"))
    rows = watched.read_now(lambda conn: memberships.worked_out(conn, memberships.stale(conn, "", 9), WORK_OUT))

    hear(watched, inbound("STOP"), at=1)
    stored = watched.write_now(lambda conn: memberships.store(conn, rows, NOON))

    assert (stored, stale(watched), asked(watched)) == (0, {BOB}, {"out", "wrote"})


def test_what_was_worked_out_before_somebody_else_did_is_not_stored_after_it(watched: Database) -> None:
    register(watched, out=OUT)
    rebuild(watched)
    hear(watched, inbound("hello"))
    slow = watched.read_now(lambda conn: memberships.worked_out(conn, memberships.stale(conn, "", 9), WORK_OUT))
    hear(watched, inbound("STOP"), at=1)
    work_off(watched)

    watched.write_now(lambda conn: memberships.store(conn, slow, NOON))

    assert (ready(watched), stale(watched)) == ({"out"}, set())


def test_what_was_worked_out_by_conditions_that_were_changed_meanwhile_counts_for_nothing(watched: Database) -> None:
    hear(watched, inbound("hello"))
    slow = watched.read_now(lambda conn: memberships.worked_out(conn, memberships.stale(conn, "", 9), WORK_OUT))
    register(watched, never="true")

    watched.write_now(lambda conn: memberships.store(conn, slow, NOON))

    assert (ready(watched), asked(watched)) == (set(), {"never"})
    rebuild(watched)
    assert ready(watched) == {"never"}


def test_a_step_that_somebody_else_took_is_not_taken_again(watched: Database) -> None:
    register(watched, it="true")
    seen = watched.read_now(rebuilding.look)
    assert seen is not None

    taken = [watched.write_now(lambda conn: rebuilding.step(conn, seen, NOON)) for _ in range(2)]

    assert taken == [True, False]


def test_a_rebuild_waits_for_transactions_that_began_before_there_were_audiences(
    database: Database, database_kind: str
) -> None:
    if database_kind == "sqlite":
        pytest.skip("SQLite has one writer at a time: none can be under way")
    with database.readers.connect() as slow:
        slow.exec_driver_sql("INSERT INTO facts (name, value, since) VALUES ('slow', '', now())")
        register(database, it='profile.city = "Basel"')
        assert [step(database) for _ in range(3)] == [True, False, False]
        profiles.put(slow, BOB, {"city": "Basel"}, "crm", NOON)
        slow.commit()

    rebuild(database)

    assert ready(database) == {"it"}


# --- the end of audiences, and of the day -------------------------------------------------------------------------


def test_a_deleted_audience_is_taken_out(watched: Database) -> None:
    register(watched, all="true", more="true")
    rebuild(watched)

    unregister(watched, "more")

    assert asked(watched) - {"more"} == {"all"}
    rebuild(watched)
    assert (ready(watched), asked(watched)) == ({"all"}, {"all"})


def test_with_the_last_audience_goes_all_that_was_kept_for_it(watched: Database) -> None:
    hear(watched, inbound("STOP"))

    unregister(watched, "never")

    assert asked(watched) == set()
    while watched.write_now(rebuilding.forget_some):
        continue
    kept = (tables.memberships, tables.stale_memberships, tables.person_messages)
    assert [count(watched, table) for table in kept] == [0, 0, 0]
    assert watched.read_now(progress_now) == membership_counts.Progress("none", "", "", 0, after=None)


def test_what_is_kept_for_audiences_stays_while_there_are_some(watched: Database) -> None:
    assert watched.write_now(rebuilding.forget_some) == 0
    assert ready(watched) == set()
    assert count(watched, tables.memberships) == 1


def test_once_a_day_everybody_is_worked_out_anew(watched: Database) -> None:
    hear(watched, receipt(Status.DELIVERED))
    register(watched, told="messages.sent > 0")
    rebuild(watched)
    years_later = NOON + timedelta(days=999)
    watched.write_now(lambda conn: conn.execute(tables.messages.delete()))  # as retention does

    renewed = [watched.write_now(lambda conn, at=at: generations.renew(conn, at)) for at in (NOON, years_later)]

    assert (renewed, asked(watched)) == ([False, True], {"told"})
    rebuild(watched)
    assert (ready(watched), count(watched, tables.person_messages)) == (set(), 0)


def test_where_the_setting_is_another_one_nothing_counts_that_was_worked_out_before(watched: Database) -> None:
    def settle(policy: str) -> bool:
        return watched.write_now(lambda conn: generations.renew(conn, NOON, unknown_consent=policy))

    assert [settle("allow"), settle("allow")] == [True, False]
    register(watched, may="consent.default.may_send")
    rebuild(watched)

    assert settle("deny")

    deny = partial(audiences.work_out, unknown_consent="deny")
    assert watched.read_now(lambda conn: memberships.of_people(conn, [BOB], deny)) == {BOB: ()}


def test_without_audiences_no_day_begins(database: Database) -> None:
    assert not database.write_now(lambda conn: generations.renew(conn, NOON))
    assert database.read_now(rebuilding.look) is None


def test_nobody_may_be_sent_to_after_a_restore_until_it_is_compared(watched: Database) -> None:
    register(watched, may="consent.default.may_send", all="true")
    rebuild(watched)

    watched.write_now(lambda conn: facts.put(conn, facts.RESTORED, "a backup", NOON))
    hear(watched, inbound("hello"))

    assert asked(watched) == {"all"}
    assert (work_off(watched), ready(watched)) == (0, {"may", "all"})


def test_who_was_erased_is_in_no_audience_and_what_holds_for_them_counts_when_they_come_back(
    database_url: str,
) -> None:
    database = Database(database_url, evidence_key="an-evidence-key-of-32-characters-or-more")
    hear(database, inbound("STOP"))
    register(database, out=OUT, all="true")
    rebuild(database)

    database.write_now(lambda conn: erasure.suppress(conn, erasure.Asked(BOB, "dora", "a letter", NOON)))
    database.write_now(lambda conn: conn.execute(tables.inbound_messages.delete()))
    erased = asked(database)
    hear(database, inbound("hello"), at=1)
    back = asked(database)
    database.close()

    assert (erased, back) == (set(), {"all", "out"})


# --- who asks -----------------------------------------------------------------------------------------------------


def test_a_browser_is_answered_as_the_person_that_it_is_linked_to(watched: Database) -> None:
    register(watched, out=OUT, all="true")
    rebuild(watched)
    links = [{"ecid": ecid, "address": BOB, "linked_at": NOON} for ecid in ("1", "2")]
    watched.write_now(lambda conn: conn.execute(tables.identities.insert(), links))
    hear(watched, inbound("STOP"))

    found = watched.read_now(lambda conn: memberships.of_browsers(conn, ["1", "2", "3"], WORK_OUT))

    assert found == {"1": (BOB, ("all", "out")), "2": (BOB, ("all", "out"))}


def test_nobody_asks_nothing(watched: Database) -> None:
    assert watched.read_now(lambda conn: memberships.of_people(conn, [], WORK_OUT)) == {}
    assert watched.read_now(lambda conn: memberships.worked_out(conn, [], WORK_OUT)) == []


def test_members_come_a_page_at_a_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in (ALICE, BOB, CHARLIE):
        hear(database, inbound("STOP", address=address))
    register(database, out=OUT, some=f'address != "{BOB}"')
    assert database.read_now(lambda conn: membership_counts.members(conn, "none", after="", limit=2)) == ([], None)
    rebuild(database)

    def page(name: str, after: str = "", limit: int = 2) -> tuple[list[str], str | None]:
        return database.read_now(lambda conn: membership_counts.members(conn, name, after=after, limit=limit))

    assert [page("out"), page("out", BOB)] == [([ALICE, BOB], BOB), ([CHARLIE], None)]
    assert page("some", limit=9) == ([ALICE, CHARLIE], None)
    monkeypatch.setattr(membership_counts, "LOOKED_THROUGH", 1)
    assert page("some", ALICE) == ([], BOB)


def test_an_opt_out_that_a_release_without_audiences_wrote_is_found_at_the_next_start(database: Database) -> None:
    def write_as_before(conn: sa.Connection) -> None:
        """The upkeep is left out by whoever finds no such fact."""
        fact = facts.read(conn, generations.FACT)
        assert fact is not None
        facts.put(conn, "aside", fact.value, NOON)
        conn.execute(tables.facts.delete().where(tables.facts.c.name == generations.FACT))
        batch.write(conn, [heard(inbound("STOP"), at=ids.moment_of(ids.new_id()))], decide)
        facts.put(conn, generations.FACT, fact.value, NOON)

    register(database, out=OUT)
    hear(database, inbound("START"), inbound("START", address=ALICE))
    while step(database) or work_off(database):
        continue
    database.write_now(write_as_before)

    assert asked(database) == set()
    assert database.write_now(memberships.doubt) == 2  # since the conditions were new
    assert (asked(database), asked(database, ALICE)) == ({"out"}, set())


def test_without_audiences_nobody_is_doubted(database: Database) -> None:
    hear(database, inbound("START"))

    assert database.write_now(memberships.doubt) == 0
