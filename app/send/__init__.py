"""6 send: what leaves. The outbox worker, the rendering of a provider's request, its authentication, the HTTP client.

An outbox row is all that lies between this room and those that hear: claimed, looked at again for consent and deadline,
sent, and marked with what became of it.
"""

from app.send.actions.caller import LEASE as CALL_LEASE
from app.send.actions.caller import Caller
from app.send.actions.ready import Actions, Called
from app.send.complaint import complain
from app.send.courier import Courier, courier, deliver
from app.send.destinations import Destinations
from app.send.fetch import fetch
from app.send.handover import Handover
from app.send.http import Client
from app.send.render import Message
from app.send.streams.tellers import Streams
from app.send.trial import Trial, try_out
from app.send.worker import Sender

__all__ = [
    "CALL_LEASE",
    "Actions",
    "Called",
    "Caller",
    "Client",
    "Courier",
    "Destinations",
    "Handover",
    "Message",
    "Sender",
    "Streams",
    "Trial",
    "complain",
    "courier",
    "deliver",
    "fetch",
    "try_out",
]
