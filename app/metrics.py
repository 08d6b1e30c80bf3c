"""What is counted, for Prometheus. Every room may count; serve shows the numbers at `/metrics`.

| name                           | labels                  | meaning                                                  |
| ------------------------------ | ----------------------- | -------------------------------------------------------- |
| textback_requests_total        | webhook, outcome        | requests to webhooks; outcome: recorded, seen, ignored,  |
|                                |                         | undecoded, refused, unknown (no such webhook), options,  |
|                                |                         | method, too_large, too_slow, not_ready, overloaded, bug  |
| textback_events_total          | webhook, kind, category | new events: inbound (its category), receipt (its status),|
|                                |                         | change (its state)                                       |
| textback_refused_total         | webhook                 | requests that did not prove who they are                 |
| textback_replies_total         | outcome                 | tries to send: sent, retried, cancelled, blocked,        |
|                                |                         | doubtful, failed                                         |
| textback_document_actions_total| outcome                 | requests to /customAction: success, http_<status>,       |
|                                |                         | timedout, capped, excluded, internalError, repeated      |
|                                |                         | (another request ran it), refused (no key), unusable     |
|                                |                         | (not understood), unknown (no such action), away, bug    |
| textback_lookups_total         | datastream, outcome     | profile look-ups; outcome: known, unknown (nobody's      |
|                                |                         | browser), new (it got its identity), preflight, refused, |
|                                |                         | no_datastream, malformed, method, too_large, too_slow,   |
|                                |                         | not_ready, bug                                           |
| textback_lookup_seconds        |                         | histogram: one answered profile look-up                  |
| textback_commit_seconds        |                         | histogram: from the first waiting request to the commit  |
| textback_batch_size            |                         | histogram: requests per commit                           |
| textback_send_seconds          |                         | histogram: one outgoing request                          |
| textback_queue_depth           |                         | gauge: requests that wait for a commit                   |
| textback_outbox_waiting        |                         | gauge: replies that wait or are on their way             |
| textback_outbox_oldest_seconds |                         | gauge: the age of the oldest of them                     |
| textback_undecoded_requests    |                         | gauge: stored requests that were not understood          |
| textback_work_list_items       |                         | gauge: items that wait for a person                      |
| textback_store_away            |                         | gauge: 1 while PostgreSQL is away, else 0                |
| textback_spool_items           |                         | gauge: requests that wait in the spool                   |
| textback_spool_bytes           |                         | gauge: what they take of the disk                        |
| textback_spool_aside           |                         | gauge: items of the spool that wait for a person         |
| textback_ledger_unsealed_seconds |                       | gauge: the age of the oldest entry without a seal; 0     |
|                                |                         | where all are sealed, or no evidence key is set          |
| textback_calls_total           | action, outcome         | calls of custom actions that have ended (their outcomes  |
|                                |                         | are in `app.action`)                                     |
| textback_calls_waiting         |                         | gauge: calls that wait or are under way                  |
| textback_calls_oldest_seconds  |                         | gauge: the age of the oldest of them                     |
| textback_dead_letters          | kind                    | gauge: what ended without having done its work (see      |
|                                |                         | `record.dead_letters`); kind: reply, request, item       |
| textback_dead_letters_oldest_seconds | kind              | gauge: the age of the oldest of them; 0: there are none  |
| textback_stream_events_total   | stream, outcome         | events for streams: told, refused (for good), excluded   |
|                                |                         | (by a policy), erased (nobody is named any more); failed |
|                                |                         | counts requests that wait to be sent again               |
| textback_stream_lag_rows       | stream, event           | gauge: rows that a stream has not told of, up to 10,000  |
| textback_stream_lag_seconds    | stream, event           | gauge: the age of the oldest of them                     |
| textback_stream_standing       | stream                  | gauge: 1 while it stands still because its receiver does |
|                                |                         | not take anything                                        |
| textback_stream_refusals       | stream                  | gauge: events that were refused for good and wait for a  |
|                                |                         | person                                                   |
| textback_restored              |                         | gauge: 1 while nobody may be sent to, because a restored |
|                                |                         | database was not yet compared with the block lists       |

The gauges are set when they are asked for. `labels(...)` costs more than the counting: keep its result where you count
often. No label ever holds an address.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

REQUESTS = Counter("textback_requests", "Requests to webhooks.", ["webhook", "outcome"], registry=REGISTRY)
EVENTS = Counter("textback_events", "New events recorded.", ["webhook", "kind", "category"], registry=REGISTRY)
REFUSED = Counter("textback_refused", "Requests without a valid proof.", ["webhook"], registry=REGISTRY)
REPLIES = Counter("textback_replies", "Replies that left the outbox.", ["outcome"], registry=REGISTRY)
DOCUMENT_ACTIONS = Counter(
    "textback_document_actions", "Requests to run a document's action.", ["outcome"], registry=REGISTRY
)

CALLS = Counter("textback_calls", "Calls of custom actions.", ["action", "outcome"], registry=REGISTRY)
LOOKUPS = Counter("textback_lookups", "Profile look-ups.", ["datastream", "outcome"], registry=REGISTRY)

COMMIT_SECONDS = Histogram(
    "textback_commit_seconds",
    "From the first waiting request to the commit.",
    registry=REGISTRY,
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
BATCH_SIZE = Histogram(
    "textback_batch_size",
    "Requests per commit.",
    registry=REGISTRY,
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000),
)
SEND_SECONDS = Histogram(
    "textback_send_seconds",
    "One outgoing request.",
    registry=REGISTRY,
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 30),
)

LOOKUP_SECONDS = Histogram(
    "textback_lookup_seconds",
    "One answered profile look-up.",
    registry=REGISTRY,
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)

QUEUE_DEPTH = Gauge("textback_queue_depth", "Requests that wait for a commit.", registry=REGISTRY)
OUTBOX_WAITING = Gauge("textback_outbox_waiting", "Replies that wait or are on their way.", registry=REGISTRY)
OUTBOX_OLDEST = Gauge("textback_outbox_oldest_seconds", "The age of the oldest of them.", registry=REGISTRY)
CALLS_WAITING = Gauge("textback_calls_waiting", "Calls that wait or are under way.", registry=REGISTRY)
CALLS_OLDEST = Gauge("textback_calls_oldest_seconds", "The age of the oldest of them.", registry=REGISTRY)
UNDECODED = Gauge("textback_undecoded_requests", "Stored requests not understood.", registry=REGISTRY)
WORK_LIST = Gauge("textback_work_list_items", "Items that wait for a person.", registry=REGISTRY)
STORE_AWAY = Gauge("textback_store_away", "1 while PostgreSQL is away.", registry=REGISTRY)
SPOOL_ITEMS = Gauge("textback_spool_items", "Requests that wait in the spool.", registry=REGISTRY)
SPOOL_BYTES = Gauge("textback_spool_bytes", "What they take of the disk.", registry=REGISTRY)
SPOOL_ASIDE = Gauge("textback_spool_aside", "Items of the spool that wait for a person.", registry=REGISTRY)
UNSEALED = Gauge(
    "textback_ledger_unsealed_seconds", "The age of the oldest ledger entry without a seal.", registry=REGISTRY
)
DEAD_LETTERS = Gauge("textback_dead_letters", "What ended without having done its work.", ["kind"], registry=REGISTRY)
DEAD_LETTERS_OLDEST = Gauge(
    "textback_dead_letters_oldest_seconds", "The age of the oldest of them.", ["kind"], registry=REGISTRY
)
STREAM_EVENTS = Counter("textback_stream_events", "Events for streams.", ["stream", "outcome"], registry=REGISTRY)
STREAM_LAG_ROWS = Gauge(
    "textback_stream_lag_rows", "Rows that a stream has not told of.", ["stream", "event"], registry=REGISTRY
)
STREAM_LAG_SECONDS = Gauge(
    "textback_stream_lag_seconds", "The age of the oldest of them.", ["stream", "event"], registry=REGISTRY
)
STREAM_STANDING = Gauge("textback_stream_standing", "1 while a stream stands still.", ["stream"], registry=REGISTRY)
STREAM_REFUSALS = Gauge("textback_stream_refusals", "Events refused for good.", ["stream"], registry=REGISTRY)
RESTORED = Gauge("textback_restored", "1 until a restored database was compared.", registry=REGISTRY)
