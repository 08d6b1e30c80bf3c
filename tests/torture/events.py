"""What the load says: signed webhooks in the manner of Twilio, each with an id of its own, in small stories."""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote_plus

from tests.torture.verdict import Sent
from tests.torture.wire import request

SECRET = "a-signing-secret-for-the-torture"
ACCOUNT = "AC0123456789abcdef0123456789abcdef"
SENDER = "+14155550199"
PUBLIC_URL = "https://hooks.example.com"
#: what a person says, and how often
STORIES = {
    ("stop",): 40,
    ("start", "stop"): 15,
    ("start",): 10,
    ("help",): 10,
    ("text",): 10,
    ("sent", "delivered"): 15,
}
#: share of our replies of which the provider sends a receipt
RECEIPTS = 0.25
_TEXTS = {"stop": "STOP", "start": "START", "help": "HELP", "text": "Is the shop open on Sunday?"}


@dataclass(slots=True)
class Event:
    """One event, its request, and what became of it."""

    id: str
    what: str
    address: str
    request: bytes = field(repr=False)
    #: seconds since 1970; 0: not sent yet
    at: float = 0.0
    acknowledged: float = 0.0

    def sent(self) -> Sent:
        """As the verdict wants it."""
        what = self.what if self.what in _TEXTS else "receipt"
        return Sent(self.id, what, self.address, self.at, bool(self.acknowledged))


class Author:
    """Writes stories. Every person appears in one story alone, so that no guard holds a reply back.

    `people`: the first of them; two authors of one load need two.
    """

    def __init__(self, paths: dict[str, str], seed: random.Random, *, people: int = 2_000_000) -> None:
        self.paths = paths
        self._seed = seed
        self._run = f"{seed.getrandbits(64):016x}"
        self._people = people
        self._count = 0

    def story(self) -> list[Event]:
        """What one person does, one after the other."""
        words = self._seed.choices([*STORIES], [*STORIES.values()])[0]
        address = self._person()
        if words[0] in _TEXTS:
            return [self.message(word, address) for word in words]
        sid = self._sid()
        return [self.receipt(sid, word, address) for word in words]

    def message(self, word: str, address: str = "") -> Event:
        """An inbound message (stop | start | help | text)."""
        sid, address = self._sid(), address or self._person()
        fields = {"Body": _TEXTS[word], "From": address, "To": SENDER, "MessageSid": sid, "SmsStatus": "received"}
        return Event(sid, word, address, self._signed("inbound", fields))

    def receipt(self, sid: str, status: str, address: str) -> Event:
        """A receipt of the message `sid`."""
        fields = {"MessageSid": sid, "MessageStatus": status, "SmsSid": sid, "From": SENDER, "To": address}
        return Event(f"{sid} {status}", status, address, self._signed("receipts", fields))

    def _person(self) -> str:
        self._people += 1
        return f"+1202{self._people}"

    def _sid(self) -> str:
        self._count += 1
        return f"SM{self._run}{self._count:016x}"

    def _signed(self, webhook: str, fields: dict[str, str]) -> bytes:
        fields = {"AccountSid": ACCOUNT, **fields}
        text = PUBLIC_URL + self.paths[webhook] + "".join(name + fields[name] for name in sorted(fields))
        proof = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), hashlib.sha1)).decode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "X-Twilio-Signature": proof}
        body = "&".join(f"{name}={quote_plus(value)}" for name, value in fields.items())
        return request("POST", self.paths[webhook], headers, body.encode())


def forever(author: Author, arrivals: Path, seed: random.Random) -> Iterator[list[Event]]:
    """Stories without end; between them receipts of some of the replies that the provider's log names."""
    taken = _new_lines(arrivals)
    while True:
        yield author.story()
        for line in next(taken):
            if seed.random() < RECEIPTS:
                reply = json.loads(line)
                yield [author.receipt(reply["id"], "delivered", reply["to"])]


def _new_lines(log: Path) -> Iterator[list[bytes]]:
    """At each turn the whole lines that were written since the last one."""
    read = 0
    while True:
        with log.open("rb") as file:
            file.seek(read)
            lines = file.read().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        read += sum(map(len, whole))
        yield whole
