"""`textback verify`: a real message through a credential, and what became of it."""

import asyncio
from collections.abc import Iterator, Mapping

import click
import orjson
from pydantic import ValidationError

from app import settings as configured
from app.errors import BadInput
from app.provider import load_providers
from app.send import Trial
from app.send.trial import ShownAnswer, ShownRequest, TriedCall
from app.serve.problems import Problem, invalid
from app.serve.terminal import open_database, open_vault, printable, show_facts
from app.serve.verify import Prepared, WantedTrial, begin, prepare
from app.settings import CONFIG_DIR, Settings

_TEXT = "This is a test message. Nothing needs to be done about it."


@click.command("verify")
@click.argument("name")
@click.option("--number", required=True, help="To whom; a number of your own, with country code.")
@click.option("--message", default=_TEXT, show_default=True, help="What it says.")
@click.option("--from", "sender", help="From whom; the sender of a webhook whose replies leave through it otherwise.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(name: str, number: str, message: str, sender: str | None, *, as_json: bool) -> None:
    """Send a real message through a credential; show request, answer and what to mend, without secrets.

    Nothing is recorded. The exit code is 1 where the provider did not take the message.

    \b
    Example: textback verify acme --number +41791234567
    """
    settings = configured.load()
    try:
        wanted = WantedTrial(number=number, message=message, sender=sender)
        trial = asyncio.run(begin(_prepared(settings, name, wanted), settings))
    except ValidationError as error:
        raise BadInput(invalid(error).detail) from None
    except Problem as problem:
        raise BadInput(problem.detail) from None
    if as_json:
        click.echo(orjson.dumps(trial).decode())
    else:
        _tell(trial)
    if not trial.taken:
        raise SystemExit(1)


def _prepared(settings: Settings, name: str, wanted: WantedTrial) -> Prepared:
    vault, providers = open_vault(settings), load_providers(CONFIG_DIR)
    with open_database(settings) as database:
        return database.read_now(lambda conn: prepare(conn, vault, settings, providers, name, wanted))


def _tell(trial: Trial) -> None:
    for call in trial.calls:
        click.echo(printable("\n".join(_call(call))) + "\n")
    if not any(call.purpose == "message" for call in trial.calls):
        click.echo("--- message: not sent\n")
    found = f"{trial.message_id or 'none'}" + (f", looked for at '{trial.looked_for}'" if trial.looked_for else "")
    show_facts([
        ("taken", "yes" if trial.taken else f"no: {trial.problem}"),
        ("message id", printable(found)),
        ("took", f"{trial.seconds:.3f} s"),
        *([("mend", printable(trial.mend))] if trial.mend else []),
    ])  # fmt: skip


def _call(call: TriedCall) -> Iterator[str]:
    yield f"--- {call.purpose}: {'sent' if call.left else 'would be sent'}"
    yield from shown_request(call.request)
    yield ""
    yield f"--- {call.purpose}: {_outcome(call)}"
    if call.answer:
        yield from _answer(call.answer)


def _outcome(call: TriedCall) -> str:
    if call.answer:
        return f"answered in {call.seconds:.3f} s"
    return "no answer" if call.left else "not sent"


def shown_request(request: ShownRequest) -> Iterator[str]:
    """Method, URL, headers and body, line by line."""
    yield f"{request.method} {request.url}"
    yield from _headers(request.headers)
    yield from _body(request.body)


def _answer(answer: ShownAnswer) -> Iterator[str]:
    yield str(answer.status)
    yield from _headers(answer.headers)
    yield from _body(answer.body)


def _headers(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        yield f"{name}: {value}"


def _body(text: str) -> Iterator[str]:
    """JSON with a value a line, anything else as it stands."""
    if text:
        yield ""
        yield _indented(text) if text[:1] in "{[" else text


def _indented(text: str) -> str:
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return text
