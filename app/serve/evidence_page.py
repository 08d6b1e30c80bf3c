"""The evidence about a person as one page to read and to print: nothing outside of it is loaded, no script runs."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from string import Template

import orjson

from app.serve.evidence import ConsentEvent, Lists, PersonEvidence
from app.serve.evidence_style import STYLE
from app.serve.evidence_timeline import Happened, timeline
from app.serve.evidence_words import after, facts, moment, said, shown, words
from app.serve.heard import RawRequest
from app.serve.ledger_head import LedgerHead

_PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Evidence: $address</title>
<style>$style</style>
</head>
<body>
<header>
<p class="kind">Evidence of consent and messages</p>
<h1>$address</h1>
<p class="quiet">$scope. Exported $exported by textback $version. All times are UTC.</p>
<p class="quiet">This page holds personal data: keep it as you keep the database.</p>
</header>
<main>
$sections
</main>
</body>
</html>
"""
)


def page(found: PersonEvidence) -> str:
    """The whole page, in HTML."""
    sections = (
        _section("Where they stand", _consent(found)),
        _section("Opt-outs", _opt_outs(found)),
        _section("What happened", _timeline(found)),
        _section("Profile", _profile(found)),
        _section("Audiences", _audiences(found)),
        _section("The lists they were judged by", "".join(map(_list, found.lists))),
        _section("Raw requests", _requests(found.requests)),
        _section("How to check this", _proof(found)),
    )
    return _PAGE.substitute(
        address=shown(found.address),
        style=STYLE,
        scope=f"Program {shown(found.program)} and what holds for all" if found.program else "All programs",
        exported=moment(found.exported_at),
        version=shown(found.textback),
        sections="\n".join(filter(None, sections)),
    )


def _section(title: str, body: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{body}\n</section>" if body else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


# --- what holds ---------------------------------------------------------------------------------------------------


def _consent(found: PersonEvidence) -> str:
    if not found.consent:
        return "<p>Nothing was ever decided about this person's consent.</p>"
    cards = (
        f'<div class="card {shown(row.state)}"><p class="state">{words(row.state)}</p>'
        f"<p>{'in all programs' if row.program == '*' else f'in program <b>{shown(row.program)}</b>'}</p>"
        f'<p class="quiet">since {moment(row.since) if row.since else "ever"}<br>by {words(row.cause)}</p></div>'
        for row in found.consent
    )
    return f'<div class="cards">{"".join(cards)}</div>'


def _opt_outs(found: PersonEvidence) -> str:
    rows = [_opt_out(event) for event in found.events if event.new_state == "opted_out" and not event.superseded]
    columns = ("received", "how", "program", "in effect after", "confirmation sent after", "delivered after", "seal")
    return _table(columns, rows) if rows else ""


def _opt_out(event: ConsentEvent) -> tuple[str, ...]:
    answer, how = event.answer, said(event.evidence.text) if event.evidence.text else words(event.cause)
    return (
        moment(event.received_at),
        how,
        shown(event.program),
        after(event.seconds_to_effect),
        after(answer.seconds_to_sent) if answer and answer.sent_at else (words(answer.state) if answer else "none"),
        after(answer.seconds_to_delivered) if answer and answer.delivered_at else "–",
        str(event.seal.number) if event.seal else "not yet",
    )


# --- what happened ------------------------------------------------------------------------------------------------


def _timeline(found: PersonEvidence) -> str:
    days = groupby(timeline(found), lambda happened: happened.at.date())
    return "\n".join(f"<h3>{day:%A, %-d %B %Y}</h3>\n<ol>\n{_day(happened)}\n</ol>" for day, happened in days)


def _day(happened: Iterable[Happened]) -> str:
    return "\n".join(_happened(each) for each in happened)


def _happened(each: Happened) -> str:
    text = f'<blockquote class="{each.kind}">{said(each.text)}</blockquote>' if each.text else ""
    return (
        f'<li class="{each.kind}"><time>{each.at:%H:%M:%S}<small>.{each.at.microsecond // 1000:03}</small></time>'
        f'<div class="what"><p class="title">{each.title}</p>{text}{facts(each.facts)}</div></li>'
    )


def _profile(found: PersonEvidence) -> str:
    rows = [(shown(a.name), said(a.value), shown(a.source), moment(a.updated_at)) for a in found.profile]
    return _table(("name", "value", "from", "since"), rows) if rows else ""


def _audiences(found: PersonEvidence) -> str:
    told = f"<p>{shown(', '.join(found.audiences))}</p>" if found.audiences else ""
    rows = [(shown(browser.ecid), moment(browser.linked_at)) for browser in found.browsers]
    return told + (_table(("linked browser", "since"), rows) if rows else "")


def _list(lists: Lists) -> str:
    rows = [
        (words(name), shown(", ".join(held.get("keywords", {}))) or "–", said(held.get("reply") or "–"))
        for name, held in lists.lists.items()
    ]
    fits = "" if lists.version_fits else ' <b class="wrong">They are not what the version was made of.</b>'
    about = f"Version <code>{shown(lists.version)}</code>, first used by webhook {shown(lists.webhook)} on"
    return f"<p>{about} {moment(lists.first_used_at)}.{fits}</p>\n{_table(('category', 'keywords', 'reply'), rows)}"


# --- proof --------------------------------------------------------------------------------------------------------


def _requests(requests: Sequence[RawRequest]) -> str:
    if not requests:
        return ""
    note = "Stripped of credentials. One request may tell of other people too: look before you pass it on."
    return f'<p class="quiet">{note}</p>\n' + "\n".join(map(_request, requests))


def _request(raw: RawRequest) -> str:
    about = facts([("request", str(raw.id)), ("received", moment(raw.received_at)), ("webhook", shown(raw.webhook)),
                   ("signature", shown(raw.signature)), ("from", shown(raw.client))])  # fmt: skip
    body = f"{raw.body}\n" if raw.encoding == "utf-8" else f"(base64)\n{raw.body}\n"
    return f"{about}\n<pre>{shown(raw.method)} {shown(raw.target)}\n{shown(_headers(raw))}\n\n{shown(body)}</pre>"


def _headers(raw: RawRequest) -> str:
    try:
        return "\n".join(f"{name}: {value}" for name, value in orjson.loads(raw.headers).items())
    except (ValueError, AttributeError):
        return raw.headers


def _proof(found: PersonEvidence) -> str:
    return (
        "<p>Each entry of the ledger carries a commitment: SHA-256 of a random salt and of what it rests on, as it is"
        " shown here. The entries themselves are sealed in a chain of keyed hashes, whose key is not in the database."
        " <code>textback ledger verify</code> recomputes both, and names what was changed, removed or slipped in.</p>"
        f"<p>{_head(found.ledger_head)}</p>"
    )


def _head(head: LedgerHead | None) -> str:
    if head is None:
        return "The ledger has no seal yet."
    last = f"The last seal at this export: number {head.number} of {moment(head.sealed_at)}"
    return f"{last}, head <code>{head.head}</code>."
