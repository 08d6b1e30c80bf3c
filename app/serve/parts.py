"""What the operations work with; main builds it and keeps it at `app.state.parts`."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.authenticate import Keyring
from app.provider import Provider
from app.record.database import Database
from app.record.intake import Intake
from app.record.registry import Registered
from app.record.tokens import Scope
from app.record.vault import Vault
from app.record.writer import Writer
from app.send import Actions, Caller, Client, Sender, Streams
from app.serve import bearer
from app.serve.apply import Catalogue
from app.serve.bearer import KnownTokens
from app.serve.offered import Offered
from app.serve.stopping import Stopping
from app.settings import Settings
from app.switchboard import Switchboard
from app.webhook import Pack


@dataclass(frozen=True)
class Parts:
    """The running server, as its API sees it."""

    settings: Settings
    database: Database
    writer: Writer
    #: what providers send goes in here; while PostgreSQL is away, into the spool
    intake: Intake
    vault: Vault
    switchboard: Switchboard
    #: None where another process sends
    sender: Sender | None
    providers: Mapping[str, Provider]
    packs: Mapping[str, Pack]
    client: Client
    keyring: Keyring
    #: what calls third parties; it follows the registry
    actions: Actions
    #: None where another process sends
    caller: Caller | None = None
    #: None where another process sends
    streams: Streams | None = None
    tokens: KnownTokens = field(default_factory=KnownTokens)
    #: told of the registry whenever it has changed, after the switchboard; the sender's couriers follow it
    followers: list[Callable[[Registered], None]] = field(default_factory=list)
    #: the custom actions that the document system may run
    offered: Offered = field(default_factory=Offered)
    #: held while the registry is taken over
    taking_over: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: set when the server is told to stop: it is not ready any more, while it still answers
    stopping: Stopping = field(default_factory=Stopping)

    async def require(self, scope: Scope, authorization: str) -> bearer.Caller:
        """Who calls by this header. Raises a 401 Problem for nobody, 403 for somebody without the scope."""
        return await bearer.require(
            scope,
            authorization,
            settings=self.settings,
            database=self.database,
            known=self.tokens,
            away=self.intake.away_since is not None,
        )

    @property
    def catalogue(self) -> Catalogue:
        """What registrations must fit."""
        return Catalogue(self.providers, self.packs)
