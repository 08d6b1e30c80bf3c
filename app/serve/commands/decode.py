"""`textback decode`: what a sample request decodes to, and what a payload or provider file lacks to read it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import click
from pydantic import JsonValue, ValidationError

from app import settings as configured
from app.decode.explained import FieldRead, RuleRead
from app.errors import BadInput
from app.provider import load_providers
from app.request import Request
from app.serve.apply import Catalogue, provider_of
from app.serve.decoding import Decoding, Reader, explained, registered, registered_name, stored_request, unregistered
from app.serve.pasted import METHODS, as_sent, read_pasted, request_of
from app.serve.problems import Problem, invalid
from app.serve.replay import stored_as_request
from app.serve.sample_file import sample_file
from app.serve.terminal import open_database, open_vault, printable, show
from app.settings import CONFIG_DIR
from app.webhook import Webhook

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("decode")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--provider", help="Read it as this provider's.")
@click.option("--webhook", help="Read it as this registered webhook does.")
@click.option("--payload", type=_FILE, help="Read it by this inverse template, as a webhook of a custom provider does.")
@click.option("--feedback-payload", type=_FILE, help="With --type both: the template of receipts.")
@click.option("--type", "kind", type=click.Choice(["inbound", "feedback", "both"]), help="Of the webhook.")
@click.option(
    "--status", "statuses", multiple=True, metavar="WORD=STATUS", help="With --payload: a status; repeatable."
)
@click.option("--region", help="ISO 3166, such as US, for numbers in national form.")
@click.option("--raw", type=int, help="Instead of a file: the id of a stored request (GET /v1/work-list tells it).")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="A header of it; repeatable.")
@click.option("--method", type=click.Choice(METHODS), help="Its method; POST unless the file says otherwise.")
@click.option("--query", help="Its query string, without the question mark.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--expect", is_flag=True, help="Print the .json that belongs beside it in tests/samples, see tests/README.md."
)
def decode(  # noqa: PLR0917 - options are many, and click passes them by name
    file: BinaryIO,
    provider: str | None,
    webhook: str | None,
    payload: Path | None,
    feedback_payload: Path | None,
    kind: str | None,
    statuses: tuple[str, ...],
    region: str | None,
    raw: int | None,
    headers: tuple[str, ...],
    method: str | None,
    query: str | None,
    as_json: bool,
    expect: bool,
) -> None:
    """Show which events a sample decodes to, where each value was found, and what the rules lack that do not hold.

    FILE holds a body, or request line, headers, blank line and body; - is the standard input. Nothing is written. The
    exit code is 1 where no event comes out, unless --expect is given; that takes the request as it would be sent, and
    supposes no content type.

    \b
    Example: textback decode sample.json --payload template.json
    """
    wanted = _reader(
        provider=provider,
        webhook=webhook,
        payload=payload and _read(payload),
        feedback_payload=feedback_payload and _read(feedback_payload),
        type=kind,
        statuses=dict(_pair(each, "=", "--status") for each in statuses),
        region=region,
    )
    try:
        came = _stored(wanted, raw) if raw is not None else _pasted(wanted, file, headers, method, query, exact=expect)
    except Problem as problem:
        raise BadInput(problem.detail) from None
    catalogue = Catalogue(load_providers(CONFIG_DIR), {})
    found = explained(catalogue, *came)
    if expect:
        _tell_expected(found, catalogue, *came)
    elif as_json:
        click.echo(found.model_dump_json())
    else:
        _tell(found)
    if not found.events and not expect:
        raise SystemExit(1)


# --- what is given ------------------------------------------------------------------------------------------------


def _reader(**given: object) -> Reader:
    try:
        return Reader.model_validate(given)
    except ValidationError as error:
        raise BadInput(invalid(error).detail) from None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{path.name} is not text in UTF-8; save it as such.") from None


def _pair(text: str, between: str, option: str) -> tuple[str, str]:
    name, found, value = text.partition(between)
    if not found or not name.strip():
        raise BadInput(f"{option} '{text[:40]}' has no {between}; write {option} 'name{between}value'.")
    return name.strip(), value.strip()


def _stored(wanted: Reader, number: int) -> tuple[Webhook, Request]:
    settings = configured.load()
    with open_database(settings) as database, database.readers.connect() as conn:
        stored = stored_request(conn, number)
        name = registered_name(wanted, stored)
        webhook = registered(conn, open_vault(settings), name) if name else unregistered(wanted)
    return webhook, stored_as_request(stored)


def _pasted(
    wanted: Reader, file: BinaryIO, headers: Sequence[str], method: str | None, query: str | None, *, exact: bool
) -> tuple[Webhook, Request]:
    name = registered_name(wanted, None)
    if name:
        settings = configured.load()
        with open_database(settings) as database:
            webhook = database.read_now(lambda conn: registered(conn, open_vault(settings), name))
    else:
        webhook = unregistered(wanted)
    pasted = read_pasted(file.read())
    told = {header.lower(): value for header, value in (_pair(each, ":", "--header") for each in headers)}
    pasted = pasted._replace(
        method=method or pasted.method,
        query=pasted.query if query is None else query,
        headers={**pasted.headers, **told},
    )
    return webhook, as_sent(pasted) if exact else request_of(pasted)


# --- what is shown ------------------------------------------------------------------------------------------------


def _tell_expected(found: Decoding, catalogue: Catalogue, webhook: Webhook, request: Request) -> None:
    """The file to stdout, so that it can be saved; what to look at to stderr."""
    sample = sample_file(provider_of(catalogue, webhook.provider), webhook, request)
    click.echo(json.dumps(sample.told, indent=2, ensure_ascii=False))
    for sentence in filter(None, (printable(found.problem), *sample.open)):
        click.echo(sentence, err=True)


def _tell(found: Decoding) -> None:
    if found.is_handshake:
        click.echo("The provider only tries the URL with this; it is answered at once, and no event comes of it.")
    elif not found.events and not found.troubles:
        click.echo(printable(found.problem) or "It is known and ignored: no event comes of it.")
    for number, event in enumerate(found.events, 1):
        facts = [(name, _plain(value)) for name, value in event.items() if name != "kind"]
        show(f"event {number}: {event['kind']}", ("field", "value"), facts)
        click.echo()
    for trouble in found.troubles:
        click.echo(f"not read ({trouble.kind}): {printable(trouble.reason)}\n")
    _tell_rules(found)
    if found.left:
        show("", ("nothing reads",), [(printable(path),) for path in found.left])


def _tell_rules(found: Decoding) -> None:
    tried = [
        ("handshake", each.number, "", f"needs {each.lacks}" if each.lacks else "holds") for each in found.handshakes
    ]
    rules = [(rule.kind, rule.number, printable(rule.item) or "the whole", _verdict(rule)) for rule in found.rules]
    if tried or rules:
        show("rules", ("kind", "rule", "item", "verdict"), [*tried, *rules])
        click.echo()
    for rule in found.rules:
        if rule.fields:
            where = f" in {printable(rule.item)}" if rule.item else ""
            show(f"rule {rule.number}, {rule.kind}{where}", ("field", "value", "found at", ""), map(_row, rule.fields))
            click.echo()


def _verdict(rule: RuleRead) -> str:
    if rule.lacks:
        return f"needs {printable(rule.lacks)}"
    return "holds and reads it" if rule.reads else "holds, but a rule before it reads it"


def _row(field: FieldRead) -> tuple[str, ...]:
    places = " or ".join(look.path for look in field.looked)
    return field.name, printable(field.value), printable(field.path or f"nothing at {places}"), field.problem


def _plain(value: JsonValue) -> str:
    return printable(value if isinstance(value, str) else str(value))
