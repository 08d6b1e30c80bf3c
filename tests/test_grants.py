"""The role for people who ask: it reads the stable views and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.conftest import fresh_database

GRANTS = Path(__file__).parent.parent / "config" / "grants.sql"
VIEWS = ["consent_history", "current_consent", "daily_report", "delivery", "inbound"]
RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[psycopg.Connection]:
    with fresh_database("postgresql", request, tmp_path) as url, psycopg.connect(url, autocommit=True) as conn:
        script = GRANTS.read_text("utf-8")
        for _ in range(2):  # it may be run again
            conn.execute(script)
        conn.execute("SET ROLE textback_readers")
        yield conn
        conn.execute("RESET ROLE")
        conn.execute("DROP OWNED BY textback_readers")
        conn.execute("DROP ROLE textback_readers")


def test_the_role_may_read_the_views_and_nothing_else(reader: psycopg.Connection) -> None:
    listed = reader.execute("SELECT relname, oid FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'S', 'm')"
                            " AND relnamespace = 'public'::regnamespace").fetchall()  # fmt: skip
    may = [
        (name, right)
        for name, oid in listed
        for right in RIGHTS
        if reader.execute("SELECT has_table_privilege(%s::oid, %s)", (oid, right)).fetchone() == (True,)
    ]

    assert sorted(may) == [(view, "SELECT") for view in VIEWS]
    assert len(listed) > 20


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_can_be_read(reader: psycopg.Connection, view: str) -> None:
    assert reader.execute(f"SELECT * FROM {view}").fetchall() == []


@pytest.mark.parametrize("sql", ["SELECT * FROM consent", "SELECT * FROM inbound_messages_first",
                                 "INSERT INTO current_consent (program) VALUES ('x')", "CREATE TABLE mine (a int)"])  # fmt: skip
def test_a_table_cannot(reader: psycopg.Connection, sql: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(sql)


def test_it_gives_exactly_the_views_that_are_documented() -> None:
    given = re.search(r"GRANT SELECT ON (.*) TO", GRANTS.read_text("utf-8"))

    assert given
    assert sorted(given[1].split(", ")) == VIEWS
