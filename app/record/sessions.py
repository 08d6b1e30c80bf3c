"""How a session with PostgreSQL is set: time-outs, the planner of the writer, and what a pooling proxy leaves of it.

Without a proxy the settings come with the connection and statements are prepared: planning the writer's few large
statements anew costs more than running them. Behind a proxy in transaction mode (pgbouncer) each transaction may meet
another server process, so its first message carries the settings (`SET LOCAL`) along with `BEGIN`, and nothing is
prepared.
"""

from typing import Any, NamedTuple

#: client side: a server that is gone, or a network that swallows everything, is noticed within seconds
_NETWORK = {
    "connect_timeout": 2,
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 5000,
}
#: UTC, so that what people see in views is UTC too
_EVERYONE = {"timezone": "UTC"}
#: milliseconds. A transaction that its process has left alone ends, so that a frozen node holds no lock for long.
_READER_PATIENCE = {
    "statement_timeout": "8000",
    "lock_timeout": "3000",
    "idle_in_transaction_session_timeout": "30000",
}
_WRITER_PATIENCE = {
    "statement_timeout": "10000",
    "lock_timeout": "3000",
    "idle_in_transaction_session_timeout": "5000",
}
# The writer asks for a handful of rows by their keys. The planner cannot know how few are given (it assumes a hundred)
# and would read and hash whole tables; a generic plan saves planning each batch anew.
_LOOK_UPS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
}
READER = {**_EVERYONE, **_READER_PATIENCE}
WRITER = {**_EVERYONE, **_WRITER_PATIENCE, **_LOOK_UPS}
#: for migrations: they may take long, and set their own patience with locks
DIRECT = _EVERYONE
#: for a person at the terminal, who sees that it takes long and can end it
UNHURRIED = (
    "SELECT set_config('statement_timeout', '0', true), set_config('idle_in_transaction_session_timeout', '0', true)"
)


class Session(NamedTuple):
    """How a connection is made, and how each of its transactions begins."""

    arguments: dict[str, Any]
    begin: str


def direct(settings: dict[str, str]) -> Session:
    """With the server itself."""
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return Session({**_arguments(), "options": options}, "BEGIN")


def pooled(settings: dict[str, str]) -> Session:
    """Through a proxy in transaction mode."""
    local = "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in settings.items())
    return Session({**_arguments(), "prepare_threshold": None}, f"BEGIN; {local}")


def _arguments() -> dict[str, Any]:
    # autocommit: we say BEGIN ourselves, and with it what a proxy needs, in one message
    return {**_NETWORK, "application_name": "textback", "autocommit": True}
