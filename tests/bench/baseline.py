"""The hand-written baseline: what one would write with FastAPI and SQLAlchemy, one transaction per request.

It checks the signature, drops repetitions, stores the message, keeps consent and a ledger, and queues the reply. It has
no sender, no keyword lists, no reply guard, no raw requests: it does less than textback, not more.
"""

import base64
import hmac
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import parse_qsl

import sqlalchemy as sa
from fastapi import FastAPI, HTTPException, Request, Response
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SECRET = os.environ["BASELINE_SECRET"].encode()
PUBLIC_URL = os.environ["BASELINE_PUBLIC_URL"]
DATABASE_URL = sa.make_url(os.environ["BASELINE_DATABASE_URL"])
STATES = {"STOP": "opted_out", "UNSUBSCRIBE": "opted_out", "START": "opted_in", "YES": "opted_in"}
REPLIES = {
    "opted_out": "You are unsubscribed. No more messages will be sent. Reply START to subscribe again.",
    "opted_in": "You are subscribed. Reply STOP to end.",
    "unchanged": "Thanks for your message. Reply HELP for help or STOP to end.",
}
#: as quick as any: SQLite has one writer, and PostgreSQL gains nothing from more than SQLAlchemy's usual five
POOLS = {"sqlite": {"pool_size": 1, "max_overflow": 0}, "postgresql": {"pool_size": 5, "max_overflow": 0}}

engine = create_async_engine(DATABASE_URL, **POOLS[DATABASE_URL.get_backend_name()])
Session = async_sessionmaker(engine, expire_on_commit=False)
insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[engine.dialect.name]

if engine.dialect.name == "sqlite":

    @sa.event.listens_for(engine.sync_engine, "connect")
    def as_durable_as_the_others(connection, _) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine.sync_engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


class Model(DeclarativeBase):
    type_annotation_map = {datetime: sa.DateTime(timezone=True)}


class Event(Model):
    __tablename__ = "events"
    key: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime]


class Inbound(Model):
    __tablename__ = "inbound"
    id: Mapped[int] = mapped_column(primary_key=True)
    provider_id: Mapped[str]
    address: Mapped[str]
    sender: Mapped[str]
    text: Mapped[str]
    at: Mapped[datetime]


class Consent(Model):
    __tablename__ = "consent"
    address: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    since: Mapped[datetime]


class Ledger(Model):
    __tablename__ = "ledger"
    id: Mapped[int] = mapped_column(primary_key=True)
    address: Mapped[str]
    state: Mapped[str]
    provider_id: Mapped[str]
    at: Mapped[datetime]


class Outbox(Model):
    __tablename__ = "outbox"
    id: Mapped[int] = mapped_column(primary_key=True)
    address: Mapped[str]
    text: Mapped[str]
    state: Mapped[str]
    at: Mapped[datetime]


class Message(Model):
    __tablename__ = "messages"
    provider_id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    at: Mapped[datetime]


class Receipt(Model):
    __tablename__ = "receipts"
    id: Mapped[int] = mapped_column(primary_key=True)
    provider_id: Mapped[str]
    status: Mapped[str]
    at: Mapped[datetime]


@asynccontextmanager
async def create_tables(_: FastAPI) -> AsyncIterator[None]:
    async with engine.begin() as connection:
        await connection.run_sync(Model.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=create_tables)


async def signed_form(request: Request) -> dict[str, str]:
    form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
    text = PUBLIC_URL + request.url.path + "".join(name + form[name] for name in sorted(form))
    expected = base64.b64encode(hmac.digest(SECRET, text.encode(), "sha1")).decode()
    if not hmac.compare_digest(expected, request.headers.get("x-twilio-signature", "")):
        raise HTTPException(401)
    return form


async def is_new(session: AsyncSession, key: str, now: datetime) -> bool:
    statement = insert(Event).values(key=key, at=now).on_conflict_do_nothing().returning(Event.key)
    return (await session.execute(statement)).first() is not None


async def change_consent(session: AsyncSession, form: dict[str, str], state: str, now: datetime) -> None:
    row = {"state": state, "since": now}
    statement = insert(Consent).values(address=form["From"], **row)
    await session.execute(statement.on_conflict_do_update(index_elements=["address"], set_=row))
    session.add(Ledger(address=form["From"], state=state, provider_id=form["MessageSid"], at=now))


@app.post("/in/inbound")
async def inbound(request: Request) -> Response:
    form, now = await signed_form(request), datetime.now(UTC)
    state = STATES.get(form["Body"].strip().upper(), "unchanged")
    async with Session() as session, session.begin():
        if await is_new(session, form["MessageSid"], now):
            session.add(
                Inbound(
                    provider_id=form["MessageSid"], address=form["From"], sender=form["To"], text=form["Body"], at=now
                )
            )
            if state != "unchanged":
                await change_consent(session, form, state, now)
            session.add(Outbox(address=form["From"], text=REPLIES[state], state="pending", at=now))
    return Response("<Response/>", media_type="text/xml")


@app.post("/in/receipts")
async def receipts(request: Request) -> Response:
    form, now = await signed_form(request), datetime.now(UTC)
    provider_id, row = form["MessageSid"], {"status": form["MessageStatus"], "at": now}
    async with Session() as session, session.begin():
        if await is_new(session, f"{provider_id} {form['MessageStatus']}", now):
            session.add(Receipt(provider_id=provider_id, **row))
            statement = insert(Message).values(provider_id=provider_id, **row)
            await session.execute(statement.on_conflict_do_update(index_elements=["provider_id"], set_=row))
    return Response(status_code=204)
