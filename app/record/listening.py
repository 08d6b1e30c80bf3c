"""News of the registry: PostgreSQL tells whoever listens (migration 0009), so that all nodes follow a change at once.

It is only a quicker way: whoever waits here looks for himself every half second as well. A listener whose connection
breaks tries again patiently, and nobody who waits ever learns of it.
"""

import asyncio

import psycopg
import structlog
from sqlalchemy.engine import URL

from app.record import sessions
from app.record.database import Database

log = structlog.get_logger()

CHANNEL = "textback_registry"
#: seconds until a broken listener tries again, at first and at most
_AGAIN, _AT_MOST = 1.0, 30.0
#: seconds after which a silent connection is tried: a frozen server tells nothing, and looks like one without news
_PROBE_EVERY, _PROBE_WITHIN = 30.0, 5.0


class News:
    """Wakes one who waits for changes of the registry. `listen` runs beside, as a task; in SQLite it ends at once."""

    def __init__(self, database: Database) -> None:
        self._url = database.direct_url if database.dialect == "postgresql" else None
        self._changed = asyncio.Event()
        #: whether somebody listens now, so that a change is told at once
        self.listening = False

    async def wait(self, most: float) -> bool:
        """Until there is news, or `most` seconds; whether there is news."""
        try:
            async with asyncio.timeout(most):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    async def listen(self) -> None:
        """Listen until cancelled."""
        pause = _AGAIN
        while self._url is not None:
            try:
                await self._hear(self._url)
            except Exception as error:  # noqa: BLE001 - whatever it was, those who wait look for themselves
                log.warning("news of the registry is not heard, only looked for", error=type(error).__name__)
            pause = _AGAIN if self.listening else min(pause * 2, _AT_MOST)
            self.listening = False
            await asyncio.sleep(pause)

    async def _hear(self, url: URL) -> None:
        _, server = url.get_dialect()().create_connect_args(url)
        settings = sessions.direct(sessions.DIRECT).arguments
        connection = await psycopg.AsyncConnection.connect(**server, **settings)
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
            self.listening = True
            self._changed.set()  # whatever was changed before we listened
            while True:
                async for _ in connection.notifies(timeout=_PROBE_EVERY, stop_after=1):
                    self._changed.set()
                async with asyncio.timeout(_PROBE_WITHIN):
                    await connection.execute("SELECT 1")
        finally:
            await connection.close()  # not `async with`: its rollback would wait for a server that does not answer
