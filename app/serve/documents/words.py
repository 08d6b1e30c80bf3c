"""What a person in the document system reads: one sentence for whatever an action ended with. No secret, no address of
a third party, and nothing that it answered: that stands in the record of the call, for whoever runs textback."""

import re
from collections.abc import Mapping
from http import HTTPStatus

SUCCESS = "success"
_HTTP = re.compile(r"http_([1-5][0-9][0-9])")

UNKNOWN = "There is no document action of this name; the list of actions is out of date, so have it refreshed."
FORBIDDEN = (
    "This wants a key of textback with the scope document, in the header apiKey or as Authorization: Bearer; none was"
    " given."
)
WRONG_KEY = "The key is not known to textback, or was revoked; have it replaced in the set-up of this integration."
WRONG_SCOPE = "The key lacks the scope document; create one with it: textback token create NAME --scope document"
NOTHING_HERE = "There is nothing at this path; there are /serviceInfo and /customAction."
WRONG_METHOD = "This path takes GET alone."
AWAY = "textback cannot reach its database at the moment, so nothing was done; try again in a minute."
BUG = "textback has a fault of its own; its log names the place. Whether the action was done is not known."
STILL_RUNNING = (
    "The same action was begun by an earlier request, and its outcome is not known yet; look whether it was done before"
    " you try again."
)

_SENTENCES: Mapping[str, str] = {
    "timedout": "The other system did not answer in time; whether the action was done is not known.",
    "capped": "The other system is called as often as it may be already, so nothing was done; try again in a minute.",
    "internalError": "textback could not make this call; whoever runs it finds the reason in the record of the call.",
}
_REFUSALS: Mapping[int, str] = {
    400: "The other system does not take the action as it is set up in textback",
    401: "The other system does not accept the key that textback has for it",
    403: "The other system does not let textback do this",
    404: "The other system does not know what this is about",
    408: "The other system gave up waiting; try again in a minute",
    409: "The other system says that this contradicts what it has already",
    429: "The other system has too much to do; try again in a minute",
}


def sentence(outcome: str, policy: str, call_id: int) -> str:
    """Why an action failed, and the number by which its record is found."""
    return f"{_reason(outcome, policy)} (call {call_id})"


def _reason(outcome: str, policy: str) -> str:
    if not outcome:
        return STILL_RUNNING
    if outcome == "excluded":
        return f"The consent policy {policy or 'of this action'} forbids it, so nothing was done."
    if status := _HTTP.fullmatch(outcome):
        return _refusal(int(status[1]))
    return _SENTENCES.get(outcome, _SENTENCES["internalError"])


def _refusal(status: int) -> str:
    if status >= 500:
        said = "The other system has a fault of its own; try again in a while"
    else:
        said = _REFUSALS.get(status, "The other system refused the action")
    return f"{said}: HTTP {status}{_phrase(status)}."


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""
