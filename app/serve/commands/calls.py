"""`textback calls`: what was called, what came of it, and once more."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import click
import orjson
import sqlalchemy as sa

from app import settings as configured
from app.address import mask
from app.errors import BadInput
from app.record import call_log
from app.record.call_log import FAILED, Again, Call, CallFilter
from app.record.writer import Writer
from app.serve.calls import AGAIN_WITHIN
from app.serve.commands.consent import login
from app.serve.terminal import open_database, printable, show, shown_age, write


@click.group("calls")
def action_calls() -> None:
    """Calls of custom actions, and what came of each.

    \b
    Example: textback calls list --outcome failed
    """


@action_calls.command("list")
@click.option("--action", help="Of this action alone.")
@click.option("--outcome", help="With this outcome; failed: all but success and excluded.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="The newest so many.")
@click.option("--before", type=int, help="Older than the one of this id, to page on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def every(*, action: str | None, outcome: str | None, limit: int, before: int | None, as_json: bool) -> None:
    """List them, newest first. Numbers are masked; GET /v1/calls shows all there is.

    \b
    Example: textback calls list --action crm
    """
    wanted = CallFilter(action, outcome)
    with open_database(configured.load()) as database:
        found = database.read_now(partial(call_log.page, wanted=wanted, limit=limit, before_id=before))
        waiting = database.read_now(call_log.waiting)
    if as_json:
        click.echo(orjson.dumps([_as_json(call) for call in found], option=orjson.OPT_UTC_Z).decode())
        return
    now = datetime.now(UTC)
    columns = ("id", "action", "trigger", "outcome", "age", "tries", "address", "why")
    show("calls", columns, (_row(call, now) for call in found))
    oldest = f", the oldest {shown_age(now - waiting.oldest)} old" if waiting.oldest else ""
    click.echo(f"\n{waiting.calls} wait or are under way{oldest}")


def _row(call: Call, now: datetime) -> tuple[object, ...]:
    why = printable(call.problem or (call.policy and f"left out by policy {call.policy}"))
    age, address = shown_age(now - call.created_at), mask(call.address) if call.address else ""
    return call.id, call.action, call.trigger, call.outcome or call.state, age, call.tries, address, why


def _as_json(call: Call) -> dict[str, object]:
    """Without what is personal: the fields of the event, the reply, and the answer."""
    shown = {"id": str(call.id), "inbound_id": call.inbound_id and str(call.inbound_id)}
    shown["address"] = mask(call.address) if call.address else ""
    return {
        name: value
        for name, value in (call._asdict() | shown).items()
        if name not in ("fields", "reply", "response", "next_at")
    }


@action_calls.command("retry")
@click.argument("ids", metavar="ID…", type=int, nargs=-1)
@click.option("--all", "whole", is_flag=True, help="All that failed, of --action where that is given.")
@click.option("--action", help="With --all: of this action alone.")
@click.option("--actor", default=login, help="Who; your login name unless said otherwise.")
def retry(*, ids: tuple[int, ...], whole: bool, action: str | None, actor: str) -> None:
    """Have calls that did not succeed made once more, within the hour. Done twice, it is done once.

    Consent policies are asked anew. A reply that waited leaves when there is an answer now, after consent was looked
    at again.

    \b
    Example: textback calls retry --all --action crm
    """
    if bool(ids) == whole:
        raise BadInput("Say which: --all, or one ID after the other (textback calls list --outcome failed shows them).")
    with open_database(configured.load()) as database:
        if whole:
            failed = partial(call_log.page, wanted=CallFilter(action, FAILED), limit=10_000)
            ids = tuple(call.id for call in reversed(database.read_now(failed)))
        again = partial(call_log.call_again, ids=ids, now=datetime.now(UTC), wait=AGAIN_WITHIN, actor=actor)
        _tell(write(database, partial(_written, again)))


async def _written(again: Callable[[sa.Connection], list[Again]], writer: Writer) -> list[Again]:
    return await writer.run(again)


def _tell(found: Sequence[Again]) -> None:
    left = [each for each in found if not each.done]
    click.echo(f"{len(found) - len(left)} will be made again, {len(left)} left as they were")
    for each in left:
        click.echo(f"{each.id}: {each.reason}", err=True)
    if left:
        raise SystemExit(1)
