"""All people that anything is stored of, a page at a time."""

import sqlalchemy as sa

from app.events import EVERY_PROGRAM
from app.record.tables import consent, profile_attributes


def addresses(conn: sa.Connection, program: str, *, limit: int, after: str = "") -> list[str]:
    """A page of those with consent in the program, or in all of them, or with attributes; by address.

    Ask again with `after`, the last address of the page you have.
    """
    ours = (sa.select(consent.c.address).where(consent.c.program == each) for each in {program, EVERY_PROGRAM})
    sources = (*ours, sa.select(profile_attributes.c.address).distinct())
    # each source gives its own page from its key, and the first of these are the page of them all
    pages = (_page(source, limit, after).subquery() for source in sources)
    everybody = sa.union(*(sa.select(page.c.address) for page in pages)).subquery()
    return list(conn.execute(sa.select(everybody.c.address).order_by(everybody.c.address).limit(limit)).scalars())


def _page(source: "sa.Select[tuple[str]]", limit: int, after: str) -> "sa.Select[tuple[str]]":
    address = source.selected_columns[0]
    return source.where(address > after).order_by(address).limit(limit)
