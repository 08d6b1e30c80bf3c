"""What operators read and load: every command of the page exists, its SQL runs, every alert asks for a metric there is."""

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
import yaml

from app import metrics
from app.__main__ import cli
from app.record.database import Database

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "config" / "operating.md").read_text("utf-8")
ALERTS = yaml.safe_load((ROOT / "config" / "alerts.yml").read_text("utf-8"))

_SHELL = re.compile(r"```sh\n(.*?)```", re.DOTALL)
_SQL = re.compile(r"```sql\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"`(textback [^`]+)`")


def commands() -> list[str]:
    """Each call of textback, without its comment."""
    lines = [line for block in _SHELL.findall(PAGE) for line in block.splitlines() if line.startswith("textback ")]
    inline = _INLINE.findall(re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
    return sorted({re.sub(r" +(#|>>).*", "", line).strip() for line in [*lines, *inline]})


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_page_exists_with_its_options(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]

    # click's own parser, which does not look whether files are there
    _, left, _ = command.make_parser(click.Context(command)).parse_args(words)

    assert left == []


def test_the_page_has_commands() -> None:
    assert len(commands()) > 30


@pytest.mark.parametrize("query", [q.strip() for block in _SQL.findall(PAGE) for q in block.split(";") if q.strip()])
def test_a_query_of_the_page_runs(database: Database, query: str) -> None:
    database.write_now(lambda conn: conn.execute(sa.text(query)))


def test_links_inside_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= anchors


# --- alerts -------------------------------------------------------------------------------------------------------


def rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


def declared() -> set[str]:
    """The names under which Prometheus sees our metrics."""
    names = {sample.name for metric in metrics.REGISTRY.collect() for sample in metric.samples}
    families = {(metric.name, metric.type) for metric in metrics.REGISTRY.collect()}
    return names | {f"{name}_total" if kind == "counter" else name for name, kind in families}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_exist_and_names_the_mend(rule: dict[str, Any]) -> None:
    asked = set(re.findall(r"\btextback_\w+", rule["expr"]))

    assert asked
    assert asked <= declared() | {"textback_commit_seconds_bucket", "textback_lookup_seconds_bucket"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "mend"}
    assert all(text.rstrip().endswith(".") for text in rule["annotations"].values())


def test_every_alert_that_the_page_names_exists_and_is_named_once() -> None:
    names = [rule["alert"] for rule in rules()]

    assert len(names) == len(set(names))
    assert set(re.findall(r"`(Textback\w+)`", PAGE)) <= set(names)


def test_commands_in_the_alerts_exist() -> None:
    text = " ".join(rule["annotations"]["mend"] for rule in rules())
    told = {words.split()[0] for words in re.findall(r"`textback ([a-z-]+[^`]*)`", text)}

    assert told <= set(cli.commands)
