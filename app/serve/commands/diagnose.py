"""`textback explain`, `doctor` and `replay`: what would happen, what is wrong, and once more."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

import click
import orjson

from app import settings as configured
from app.errors import BadInput
from app.events import NOBODY, Standing
from app.interpret import Rules, effective, explain, rules
from app.record import call_log, dead_letters, diagnosis, queries, streams
from app.record.database import Database
from app.record.dead_letters import Kind, Tally
from app.record.diagnosis import BadEnd, Hearing, Leaving
from app.serve.consent_file import checked_program
from app.serve.fields import person
from app.serve.replay import replay
from app.serve.terminal import connect, open_database, printable, show, show_facts, shown_age, write
from app.settings import CONFIG_DIR, Settings
from app.switchboard import policy
from app.webhook import Webhook, load_packs

# --- explain ------------------------------------------------------------------------------------------------------


@click.command("explain")
@click.argument("text")
@click.option("--webhook", "name", help="The webhook whose keywords and replies count; without it, the defaults.")
@click.option("--address", help="Begin from what is stored of this person; without it, from somebody unknown.")
@click.option("--program", help="With --address: the program; the webhook's unless said otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def explain_text(text: str, name: str | None, address: str | None, program: str | None, *, as_json: bool) -> None:
    """Tell what would happen to a message, and why. Nothing is written.

    \b
    Example: textback explain "Stop!" --webhook acme-inbound
    """
    settings = configured.load()
    if name is None and address is None:
        applied, standing = _default_rules(settings), NOBODY
    else:
        applied, standing = _stored(settings, name, address, program)
    found = dataclasses.asdict(explain(text, applied, standing, datetime.now(UTC)))
    if as_json:
        click.echo(orjson.dumps(found).decode())
    else:
        show_facts((fact.replace("_", " "), value) for fact, value in found.items())


def _default_rules(settings: Settings) -> Rules:
    """What a webhook hears whose operator gave neither keywords nor replies."""
    plain = Webhook(name="defaults", provider="any", credential="any")
    return rules(plain, load_packs(CONFIG_DIR), {}, frozenset(), policy(settings))


def _stored(settings: Settings, name: str | None, address: str | None, program: str | None) -> tuple[Rules, Standing]:
    with open_database(settings) as database:
        if name is None:
            return _default_rules(settings), _standing(database, address, program or "default", None)
        switchboard = connect(settings, database)
        if name in switchboard.broken:
            raise BadInput(switchboard.broken[name])
        if name not in switchboard.by_name:
            raise BadInput(f"There is no webhook '{name}'; there are: {', '.join(switchboard.by_name) or 'none'}.")
        line = switchboard.by_name[name]
        return line.rules, _standing(database, address, program or line.webhook.program, line.webhook.region)


def _standing(database: Database, address: str | None, program: str, region: str | None) -> Standing:
    if address is None:
        return NOBODY
    whose, named = person(address, region), checked_program(program)
    return effective(*database.read_now(lambda conn: queries.standings(conn, named, [whose]))[whose])


# --- replay -------------------------------------------------------------------------------------------------------


@click.command("replay")
@click.option("--id", "ids", type=int, multiple=True, help="The id of a stored request; repeatable.")
@click.option("--all", "every", is_flag=True, help="All stored requests that were not understood.")
def replay_requests(ids: tuple[int, ...], every: bool) -> None:
    """Read stored requests again that were not understood, after the provider file was mended.

    Nothing is recorded twice, and what is recorded keeps the time at which it first came.

    \b
    Example: textback replay --all
    """
    if bool(ids) == every:
        raise BadInput("Say which: --all, or one --id after the other (textback doctor counts them).")
    settings = configured.load()
    with open_database(settings) as database:
        switchboard = connect(settings, database)
        found = write(database, lambda writer: replay(switchboard, database, writer, None if every else ids))
    left = [each for each in found if each.problem]
    events = sum(each.new for each in found)
    click.echo(f"{len(found) - len(left)} requests understood, {events} events recorded, {len(left)} left as they were")
    for each in left:
        click.echo(f"{each.id} {each.webhook}: {each.problem}".replace(" :", ":"), err=True)
    if left:
        raise SystemExit(1)


# --- doctor -------------------------------------------------------------------------------------------------------


@click.command("doctor")
def doctor() -> None:
    """Show how webhooks, outbox, calls and streams fare, and what to mend.

    \b
    Example: textback doctor
    """
    now = datetime.now(UTC)
    with open_database(configured.load()) as database:
        names = database.read_now(diagnosis.webhook_names)
        heard = [database.read_now(partial(diagnosis.hearing, webhook=name)) for name in names]
        leaving = database.read_now(lambda conn: diagnosis.leaving(conn, now))
        dead = database.read_now(dead_letters.tallies)
        failed = database.read_now(partial(call_log.failed_since, since=now - diagnosis.RECENT))
        standing = database.read_now(streams.standing)
    show("webhooks", ("name", "last heard", "refused", "not understood", "work list"), map(_row, heard))
    click.echo()
    show_facts([("replies waiting", leaving.waiting), ("oldest of them", leaving.oldest_waiting)])
    mends = [mend for hearing in heard for mend in _mends(hearing)]
    mends += [*_mends_of_outbox(leaving, now), *_mends_of_dead_letters(dead, now), *_mends_of_calls(failed)]
    mends += _mends_of_streams(standing)
    click.echo("\n" + "\n".join(mends or ["Nothing to mend." if names else _NO_WEBHOOKS]))


_NO_WEBHOOKS = "No webhook is registered; write an apply file (see README) and run: textback apply FILE"


def _row(hearing: Hearing) -> tuple[object, ...]:
    work = sum(hearing.work.values())
    return hearing.webhook, hearing.last_heard or "never", len(hearing.refusals), hearing.undecoded, work


def _mends(hearing: Hearing) -> Iterator[str]:
    name = f"webhook '{hearing.webhook}'"
    if hearing.last_heard is None:
        yield f"{name} was never heard; enter its URL (textback apply prints it) at the provider."
    for refusal in hearing.refusals[:3]:
        yield f"{name} refused a request at {refusal.at}: {refusal.reason}"
    if hearing.refusals:
        yield "  Where that was the provider: compare the webhook's secret, and TEXTBACK_PUBLIC_URL, with its console."
    if hearing.undecoded:
        yield f"{name} has {hearing.undecoded} requests that were not understood: {hearing.problem}"
        yield "  Mend the provider file or the payload, then run: textback replay --all"
    for kind, count in hearing.work.items():
        yield f"{name} has {count} items of kind '{kind}' on the work list; GET /v1/work-list shows them."


def _mends_of_outbox(leaving: Leaving, now: datetime) -> Iterator[str]:
    if leaving.oldest_waiting and (now - leaving.oldest_waiting).total_seconds() > 60:
        yield "Replies wait for more than a minute; is a sender running (textback serve, or textback send)?"
    for bad in leaving.bad:
        yield _bad_end(bad)


def _bad_end(bad: BadEnd) -> str:
    how = {"doubtful": "ended in doubt", "blocked": "were blocked by the provider"}.get(bad.state, "failed")
    return f"{bad.replies} replies through '{bad.credential}' {how} in the last 7 days, lately: {bad.reason}"


def _mends_of_calls(failed: Iterable[tuple[str, str, int]]) -> Iterator[str]:
    for action, outcome, count in failed:
        yield f"{count} call{'' if count == 1 else 's'} of action '{action}' ended as {outcome} in the last 7 days."
        yield f"  textback calls list --action {action} --outcome {outcome} shows why; then: textback calls retry"


def _mends_of_streams(standing: Mapping[str, str]) -> Iterator[str]:
    for stream, problem in standing.items():
        yield f"stream '{stream}' stands still: {printable(problem)}"
        yield "  It goes on by itself once that is mended, and nothing is lost; textback streams list shows how far."


_DEAD: Mapping[Kind, tuple[str, str]] = {
    Kind.REPLY: ("replies failed for good or ended in doubt", "replay --kind reply --all"),
    Kind.REQUEST: ("requests wait to be read again", "replay --kind request --all"),
    Kind.ITEM: ("items wait for a person", "replay --kind item --all, or resolve ID --reason …"),
}


def _mends_of_dead_letters(tallies: Mapping[Kind, Tally], now: datetime) -> Iterator[str]:
    for kind, tally in tallies.items():
        if tally.oldest:
            what, command = _DEAD[kind]
            yield f"Dead letters: {tally.letters} {what}, the oldest {shown_age(now - tally.oldest)} old."
            yield f"  textback dead-letters list --kind {kind} shows them; then: textback dead-letters {command}"
