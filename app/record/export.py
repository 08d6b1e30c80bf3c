"""Consent as rows, for files."""

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from app.events import EVERY_PROGRAM
from app.record.tables import consent

_AT_ONCE = 5000


class ConsentEntry(NamedTuple):
    """A person's state in a program, or in all of them (`*`)."""

    address: str
    state: str
    program: str
    since: datetime
    cause: str


def consent_entries(conn: sa.Connection, program: str | None) -> Iterator[ConsentEntry]:
    """All rows by address and program; with `program`, its rows and those of all programs, which hold for it too."""
    columns = (consent.c[name] for name in ConsentEntry._fields)
    query = sa.select(*columns).order_by(consent.c.address, consent.c.program)
    if program is not None:
        query = query.where(consent.c.program.in_({program, EVERY_PROGRAM}))
    return (ConsentEntry(*row) for row in conn.execute(query.execution_options(yield_per=_AT_ONCE)))
