"""`textback dead-letters`: what ended without having done its work, listed, replayed, settled."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial

import click
import orjson

from app import settings as configured
from app.address import mask
from app.errors import BadInput
from app.record import dead_letters as letters
from app.record.dead_letters import DeadLetter, Kind, Outcome, Tally
from app.serve.commands.consent import login
from app.serve.revival import Means, replay_all, replay_some, settle_some
from app.serve.terminal import connect, open_database, printable, show, shown_age, write
from app.switchboard import policy

_ids = click.argument("ids", metavar="ID…", type=int, nargs=-1)
_kind = click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Of this kind alone.")


@click.group("dead-letters")
def dead_letters() -> None:
    """Replies that failed for good, requests that were not understood, items that were refused.

    \b
    Example: textback dead-letters list
    """


# --- list ---------------------------------------------------------------------------------------------------------


@dead_letters.command("list")
@_kind
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The newest so many.")
@click.option("--before", type=int, help="Older than the one of this id, to page on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def every(*, kind: str | None, limit: int, before: int | None, as_json: bool) -> None:
    """List them, newest first. Numbers are masked; GET /v1/dead-letters shows all there is.

    \b
    Example: textback dead-letters list --kind reply
    """
    kinds = Kind if kind is None else (Kind(kind),)
    with open_database(configured.load()) as database:
        found = database.read_now(partial(letters.page, kinds=kinds, limit=limit, before_id=before))
        tallies = database.read_now(letters.tallies)
    if as_json:
        click.echo(orjson.dumps([_as_json(letter) for letter in found], option=orjson.OPT_UTC_Z).decode())
        return
    now = datetime.now(UTC)
    columns = ("id", "kind", "state", "from", "age", "tries", "address", "reason")
    show("dead letters", columns, (_row(letter, now) for letter in found))
    click.echo("\n" + "\n".join(_sum(each, tallies[each], now) for each in kinds))


def _row(letter: DeadLetter, now: datetime) -> tuple[object, ...]:
    age, reason = shown_age(now - letter.since), printable(letter.reason)
    through = letter.credential or letter.webhook
    return letter.id, letter.kind, letter.state, through, age, letter.tries, _masked(letter.address), reason


def _as_json(letter: DeadLetter) -> dict[str, object]:
    shown = {"id": str(letter.id), "raw_id": letter.raw_id and str(letter.raw_id), "address": _masked(letter.address)}
    return {name: value for name, value in (letter._asdict() | shown).items() if name != "text"}


def _masked(address: str) -> str:
    return mask(address) if address else ""


def _sum(kind: Kind, tally: Tally, now: datetime) -> str:
    doubtful = f", {tally.doubtful} of them in doubt" if tally.doubtful else ""
    oldest = f", the oldest {shown_age(now - tally.oldest)} old" if tally.oldest else ""
    return f"{kind}: {tally.letters}{doubtful}{oldest}"


# --- replay -------------------------------------------------------------------------------------------------------


@dead_letters.command("replay")
@_ids
@_kind
@click.option("--all", "whole", is_flag=True, help="All there are.")
@click.option("--doubtful", is_flag=True, help="Also replies that may have left: a replay may double them.")
def replay(*, ids: tuple[int, ...], kind: str | None, whole: bool, doubtful: bool) -> None:
    """Send failed replies again, read requests again, record changes again. Done twice, it is done once.

    A reply gets a new deadline, and consent is looked at again before it leaves. An opt-out confirmation is sent only
    while the person is opted out by that opt-out and it is not confirmed otherwise; one that comes later than five
    minutes after the STOP is lawful only with a good reason (47 CFR 64.1200(a)(12)).

    \b
    Example: textback dead-letters replay --kind reply --all
    """
    if bool(ids) == whole:
        raise BadInput("Say which: --all, or one ID after the other (textback dead-letters list shows them).")
    settings, only = configured.load(), None if kind is None else Kind(kind)
    with open_database(settings) as database:
        before, switchboard = database.read_now(letters.tallies), connect(settings, database)
        start = replay_all if whole else partial(replay_some, ids=ids)
        found = write(
            database,
            lambda writer: start(Means(switchboard, database, writer, policy(settings)), kind=only, doubtful=doubtful),
        )
    if whole:
        _tell_left_out(before, only, doubtful=doubtful)
    _tell("replayed", found)


def _tell_left_out(before: dict[Kind, Tally], kind: Kind | None, *, doubtful: bool) -> None:
    count = before[Kind.REPLY].doubtful
    if count and not doubtful and kind in (None, Kind.REPLY):
        click.echo(f"{count} replies are left out, for they may have left; --doubtful takes them too", err=True)


# --- resolve ------------------------------------------------------------------------------------------------------


@dead_letters.command("resolve")
@_ids
@_kind
@click.option("--reason", required=True, help="What was done instead, or why nothing need be; it is kept.")
@click.option("--actor", default=login, help="Who; your login name unless said otherwise.")
def resolve(*, ids: tuple[int, ...], kind: str | None, reason: str, actor: str) -> None:
    """Settle dead letters that were dealt with otherwise, or that nobody will deal with.

    They are kept, with the note, and not replayed any more.

    \b
    Example: textback dead-letters resolve 123456789 --reason "opted out by hand" --actor dora
    """
    if not ids:
        raise BadInput("Say which: one ID after the other (textback dead-letters list shows them).")
    if not reason.strip() or not actor.strip():
        raise BadInput("It needs a --reason and an --actor; say both in a few words.")
    only, said = None if kind is None else Kind(kind), {"actor": actor.strip(), "reason": reason.strip()}
    with open_database(configured.load()) as database:
        found = write(database, lambda writer: settle_some(database, writer, only, ids, **said))
    _tell("settled", found)


def _tell(done: str, found: Sequence[Outcome]) -> None:
    """How many, and why the others are left; these make the exit code 1."""
    left = [each for each in found if not each.done]
    click.echo(f"{len(found) - len(left)} {done}{_events(found)}, {len(left)} left as they were")
    for each in left:
        click.echo(f"{each.id} {each.kind or ''}: {printable(each.reason)}".replace(" :", ":"), err=True)
    if left:
        raise SystemExit(1)


def _events(found: Iterable[Outcome]) -> str:
    count = sum(each.new for each in found)
    return f" ({count} events recorded)" if count else ""
