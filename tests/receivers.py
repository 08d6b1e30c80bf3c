"""Receivers of streams: they check what comes as strictly as the real ones should, and keep the events."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.fake_provider import FakeProvider, Received, Reply, answer

SCHEMAS = Path(__file__).parent / "schemas"
ENVELOPE = Draft202012Validator(json.loads((SCHEMAS / "xdm-envelope.json").read_text("utf-8")))
EXAMPLE = json.loads((SCHEMAS / "xdm-envelope.example.json").read_text("utf-8"))
ORGANISATION = "ACME@AdobeOrg"
LIMIT = 1_048_576


@dataclass
class Inlet:
    """A streaming inlet: an answer for each message; those that are no envelope it refuses, as the real one does."""

    provider: FakeProvider
    events: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    #: statuses for single events, by a text that stands in them
    moods: dict[str, int] = field(default_factory=dict)
    #: takes batches
    batch: bool = True

    def __post_init__(self) -> None:
        self.provider.judge = self.hear

    @property
    def url(self) -> str:
        return f"{self.provider.url}/collection/{'batch/' if self.batch else ''}0123456789abcdef"

    @property
    def ids(self) -> list[str]:
        return [event["_id"] for event in self.events]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["_textback"]["type"] == kind]

    def hear(self, request: Received) -> Reply | None:
        if self.provider.plan:
            return None
        if len(request.body) > LIMIT:
            return answer(413, {"message": "Payload too large"})
        wrong = [
            request.headers.get("x-gw-ims-org-id") != ORGANISATION,
            request.headers["content-type"] != "application/json",
        ]
        if any(wrong):
            self.faults.append(f"headers: {request.headers}")
            return answer(400, {"message": "wrong headers"})
        messages = request.json["messages"] if self.batch else [request.json]
        outcomes = [self.take(message) for message in messages]
        if not self.batch:
            return answer(outcomes[0].get("statusCode", 200), outcomes[0])
        return answer(207, {"inletId": "1", "batchId": "2", "receivedTimeMs": 3, "responses": outcomes})

    def take(self, message: dict[str, Any]) -> dict[str, Any]:
        told = json.dumps(message)
        for text, status in self.moods.items():
            if text in told:
                return {"statusCode": status, "message": f"Message about +14155550101 has unknown xdm format '{text}'"}
        if faults := [error.message for error in ENVELOPE.iter_errors(message)]:
            self.faults += faults
            return {"statusCode": 400, "message": faults[0]}
        self.events.append(message["body"]["xdmEntity"])
        return {"inletId": "1", "xactionId": message["header"]["xactionId"], "receivedTimeMs": 3}
