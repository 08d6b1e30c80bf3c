"""The house holds what its map says, and its README's queries run."""

import re
import tomllib
from pathlib import Path

import pytest
import sqlalchemy as sa

from app import __version__
from app.record.database import Database

ROOT = Path(__file__).parent.parent
ROOMS = ["accept", "authenticate", "decode", "interpret", "record", "send", "serve"]
#: files over 300 lines, each with its reason
LONG = {"app/record/tables.py": "the tables, one beneath the other"}


def test_the_rooms_read_in_the_order_that_a_message_travels() -> None:
    listed = sorted(path.name for path in (ROOT / "app").iterdir() if (path / "__init__.py").exists())
    numbered = [(ROOT / "app" / room / "__init__.py").read_text("utf-8").splitlines()[0] for room in listed]
    mapped = re.findall(r"^\| `(\w+)/`", (ROOT / "app" / "README.md").read_text("utf-8"), re.MULTILINE)

    assert listed == mapped == ROOMS
    assert [line.split()[0].strip('"') for line in numbered] == [str(n) for n in range(1, 8)]


def test_every_file_outside_the_rooms_is_on_the_map() -> None:
    told = (ROOT / "app" / "README.md").read_text("utf-8")
    files = {path.name for path in (ROOT / "app").glob("*.py")} - {"__init__.py"}

    assert {name for name in files if f"`{name}`" not in told} == set()


def test_no_file_grows_past_300_lines_without_a_reason() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in (ROOT / "app").rglob("*.py")
    }

    assert {name for name, count in lines.items() if count > 300} == set(LONG)


def test_the_version_is_told_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    assert project["version"] == __version__


def readme_queries() -> list[str]:
    blocks = re.findall(r"```sql\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert blocks
    return [query.strip() for query in re.sub(r"--.*", "", "".join(blocks)).split(";") if query.strip()]


@pytest.mark.parametrize("query", readme_queries())
def test_a_query_of_the_readme_runs(database: Database, query: str) -> None:
    database.read_now(lambda conn: conn.execute(sa.text(query)).all())
