"""The document system's two paths: what a stranger learns, who may run an action, and that it runs once."""

import http.client
import re
import shutil
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
import sqlalchemy as sa

from app.record import documents
from app.record.ids import new_id
from app.record.tables import action_calls, document_runs
from app.serve.documents import words
from tests.conftest import KINDS, fresh_database
from tests.fake_provider import DROP, HANG, FakeProvider, Reply, answer, redirect, running
from tests.postgres import free_port
from tests.serving import ADMIN, SECRET_KEY, Answer, Served, serving
from tests.test_story import is_ready, wait_for
from tests.test_story import running as running_process

#: as the vendor's page prints it, https and host apart
PRINTED = (
    "/webhooks/customName?name=archive&documentId=5502082c003a4f30 ddec2fb2b739cb7c"
    "&documentVersionId=54b598a700e2342d6971597a5df1a8d3"
)
QUERY = {"name": "archive", "documentId": "5502082c003a4f30", "documentVersionId": "54b598a700e2342d"}
SUCCESS = {"status": "success"}
USER = "becky@example.com"


@dataclass(frozen=True)
class Archive:
    """textback, a third party, and a key of the document system."""

    textback: Served
    third_party: FakeProvider
    key: str
    since: int = 0
    """Calls with higher ids are this test's."""

    def anew(self) -> "Archive":
        """For the next test, which shall see nothing of the one before."""
        self.third_party.plan.clear()
        self.third_party.requests.clear()
        every_call_as_if(self.textback, datetime.now(UTC) - timedelta(hours=3))
        self.textback.write(lambda conn: documents.forget(conn, datetime.now(UTC)))
        return replace(self, since=new_id())

    @property
    def proof(self) -> dict[str, str]:
        return {"apiKey": self.key, "username": USER}

    def run(self, *, at: Served | None = None, path: str = "/customAction", **changed: str) -> Answer:
        """The document system runs the action."""
        return self.ask(f"{path}?{urlencode(QUERY | changed)}", self.proof, at=at)

    def ask(
        self, target: str, headers: Mapping[str, str] = {}, *, method: str = "GET", at: Served | None = None
    ) -> Answer:
        return (at or self.textback).ask(method, target, token=None, headers=headers)

    @property
    def called(self) -> list[Any]:
        """What the third party was told, call by call."""
        return [request.json for request in self.third_party.requests]

    @property
    def calls(self) -> list[Any]:
        column = action_calls.c
        query = sa.select(column.action, column.trigger, column.state, column.outcome, column.attempts)
        mine = query.where(column.id > self.since).order_by(column.id)
        return self.textback.parts.database.read_now(lambda conn: [tuple(row) for row in conn.execute(mine)])


def an_action(url: str, **more: Any) -> dict[str, Any]:
    payload = {
        "id": "{{_id}}", "type": "{{event.type}}", "document": "{{event.documentId}}",
        "version": "{{event.documentVersionId}}", "what": "{{event.name}}", "who": "{{event.username}}",
    }  # fmt: skip
    usual = {"name": "archive", "url": f"{url}/archive", "payload": payload, "retries": 0, "document": "Archive it"}
    return usual | more


def register(served: Served, kind: str, **model: Any) -> None:
    made = served.ask("POST", f"/v1/{kind}", model)
    assert made.status == 201, made.body


def key_of(served: Served, *scopes: str) -> str:
    made = served.ask("POST", "/v1/tokens", {"name": "-".join(["key", *scopes]).replace(":", "-"), "scopes": scopes})
    return str(made.json["token"])


@contextmanager
def archive(database_url: str, **settings: Any) -> Iterator[Archive]:
    with (
        running() as third_party,
        serving(database_url, allowed_private_destinations="127.0.0.1", **settings) as served,
    ):
        register(served, "actions", **an_action(third_party.url))
        yield Archive(served, third_party, key_of(served, "document"))


@pytest.fixture(scope="module")
def running_on_sqlite(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    file = shutil.copy(sqlite_template, tmp_path_factory.mktemp("documents") / "textback.db")
    with archive(f"sqlite:///{file}") as started:
        yield started


@pytest.fixture
def shared(running_on_sqlite: Archive) -> Archive:
    """For what has nothing to do with the database."""
    return running_on_sqlite.anew()


@pytest.fixture(scope="module", params=KINDS)
def running_on_each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    if request.param == "sqlite":
        yield request.getfixturevalue("running_on_sqlite")
        return
    with fresh_database("postgresql", request, tmp_path_factory.mktemp("documents")) as url, archive(url) as started:
        yield started


@pytest.fixture
def here(running_on_each: Archive) -> Archive:
    """On SQLite and PostgreSQL."""
    return running_on_each.anew()


def failure(sentence: str) -> dict[str, str]:
    return {"status": "failure", "error": sentence}


def is_in_form(told: Answer) -> bool:
    """Whatever happened: one of the two bodies, as JSON that nobody keeps and no page of another site can read."""
    keys = {"status"} if told.json == SUCCESS else {"status", "error"}
    open_to_pages = [name for name in told.headers if name.startswith("access-control-")]
    kept = told.headers["cache-control"] if told.headers["x-content-type-options"] == "nosniff" else ""
    return set(told.json) == keys and told.headers["content-type"] == "application/json" and (
        kept, open_to_pages) == ("no-store", [])  # fmt: skip


def every_call_as_if(served: Served, moment: datetime) -> None:
    """Whoever made them died, or they are long past: their holds ended then."""

    def act(conn: sa.Connection) -> None:
        conn.execute(sa.update(action_calls).where(action_calls.c.state == "calling").values(claimed_until=moment))
        conn.execute(sa.update(document_runs).values(repeats_until=moment))

    served.write(act)


# --- what a stranger learns ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_stranger_learns_the_names_of_document_actions_and_nothing_else(database_url: str) -> None:
    with archive(database_url) as here:
        register(here.textback, "actions", **an_action("https://crm.example.com", name="zap", document="Zap"))
        register(here.textback, "actions", **an_action("https://crm.example.com", name="hidden", document=None))
        register(here.textback, "actions", **an_action("https://crm.example.com", name="ask", document="Ask für Ä"))

        told = here.ask("/serviceInfo")
        head = here.ask("/serviceInfo", method="HEAD")

    assert told.json == {
        "webhookVersion": "1.2",
        "version": "1.0",
        "publisher": "textback",
        "availableEndpoints": ["serviceInfo", "customAction"],
        "customActions": [
            {"name": "archive", "displayName": "Archive it"},
            {"name": "ask", "displayName": "Ask für Ä"},
            {"name": "zap", "displayName": "Zap"},
        ],
    }
    assert (told.status, told.headers["content-type"], told.headers["cache-control"]) == (
        200, "application/json", "no-store")  # fmt: skip
    assert (head.status, head.body) == (200, b"")


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_an_action_that_is_no_longer_for_documents_leaves_the_list_and_cannot_be_run(database_url: str) -> None:
    with archive(database_url) as here:
        changed = here.textback.ask("PUT", "/v1/actions/archive", an_action(here.third_party.url, document=None))

        listed, told = here.ask("/serviceInfo").json["customActions"], here.run()

        assert (changed.status, listed, told.status, told.json) == (200, [], 200, failure(words.UNKNOWN))
        assert here.called == []


# --- the document's own example -----------------------------------------------------------------------------------


def test_the_printed_example_is_answered_as_printed_and_its_ids_reach_the_third_party(here: Archive) -> None:
    told = here.ask(PRINTED.replace(" ", "%20"), here.proof)

    assert (told.status, told.body, is_in_form(told)) == (200, b'{"status":"success"}', True)
    [sent] = here.called
    assert sent.pop("id").isdigit()
    assert sent == {
        "type": "document",
        "document": "5502082c003a4f30 ddec2fb2b739cb7c",
        "version": "54b598a700e2342d6971597a5df1a8d3",
        "what": "archive",
        "who": USER,
    }
    assert here.calls == [("archive", "document", "done", "success", 1)]


def test_a_blank_that_was_not_encoded_is_no_request_and_no_page_either(shared: Archive) -> None:
    where = urlsplit(shared.textback.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as plain:
        plain.sendall(f"GET {PRINTED} HTTP/1.1\r\nHost: x\r\napiKey: {shared.key}\r\n\r\n".encode())
        told = plain.recv(4096)

    assert told.startswith(b"HTTP/1.1 400")
    assert b"<" not in told


@pytest.mark.parametrize("path", ["/customAction", "/webhooks/customAction", "/webhooks/customName"])
def test_the_endpoint_is_heard_at_either_base(shared: Archive, path: str) -> None:
    document = path.replace("/", "-").strip("-")

    assert shared.run(path=path, documentId=document).json == SUCCESS
    assert shared.called[-1]["document"] == document
    assert shared.ask(path.replace("customAction", "serviceInfo").replace("customName", "serviceInfo")).status == 200


def test_parameters_that_an_administrator_adds_to_every_call_are_let_pass(shared: Archive) -> None:
    assert shared.run(documentId="more", access_type="offline", other="").json == SUCCESS


# --- who may ------------------------------------------------------------------------------------------------------


def test_a_token_with_the_scope_may_as_api_key_or_bearer_and_so_may_an_admins(shared: Archive) -> None:
    ways = [
        {"apiKey": shared.key, "username": USER},
        {"apiKey": shared.key},
        {"Authorization": f"Bearer {shared.key}", "username": "Zoë"},
        {"Authorization": f"Bearer {ADMIN}"},
        # what the vendor's page shows: an administrator may add a header to every call
        {"apiKey": shared.key, "username": USER, "Authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
    ]
    encoded = [{name: value.encode().decode("latin-1") for name, value in way.items()} for way in ways]
    encoded.append({"apiKey": shared.key, "username": "Zoë"})  # in latin-1, as older clients write headers

    told = [
        shared.ask(f"/customAction?{urlencode(QUERY | {'documentId': f'way{number}'})}", way).json
        for number, way in enumerate(encoded)
    ]

    assert told == [SUCCESS] * 6
    assert [sent["who"] for sent in shared.called] == [USER, "", "Zoë", "", USER, "Zoë"]


def test_nobody_else_may_and_nothing_is_run(shared: Archive) -> None:
    target, before = f"/customAction?{urlencode(QUERY | {'documentId': 'refused'})}", len(shared.called)
    other = key_of(shared.textback, "consent:read")
    key = quote(shared.key)
    attempts: list[tuple[str, dict[str, str], str]] = [
        (target, {}, words.FORBIDDEN),
        (target, {"username": USER}, words.FORBIDDEN),
        (target, {"apiKey": ""}, words.FORBIDDEN),
        (target, {"apiKey": "wrong", "username": USER}, words.WRONG_KEY),
        (target, {"apiKey": "wrong", "Authorization": f"Bearer {shared.key}"}, words.WRONG_KEY),
        (target, {"Authorization": "Bearer wrong"}, words.WRONG_KEY),
        (target, {"apiKey": other}, words.WRONG_SCOPE),
        (target, {"Authorization": f"Basic {shared.key}"}, words.FORBIDDEN),
        (target, {"Cookie": f"apiKey={shared.key}; Authorization=Bearer {shared.key}"}, words.FORBIDDEN),
        (f"{target}&apiKey={key}&username=x&access_token={key}", {}, words.FORBIDDEN),
        # refused before it is read
        ("/customAction", {}, words.FORBIDDEN),
    ]

    told = [shared.ask(where, headers) for where, headers, _ in attempts]

    assert [each.status for each in told] == [403] * len(attempts)
    assert [each.json for each in told] == [failure(sentence) for _, _, sentence in attempts]
    assert all(map(is_in_form, told))
    assert len(shared.called) == before


def test_a_revoked_key_ends_at_once(shared: Archive) -> None:
    other = replace(shared, key=key_of(shared.textback, "document", "metrics"))
    assert other.run().json == SUCCESS
    assert shared.textback.ask("DELETE", "/v1/tokens/key-document-metrics").status == 204

    told = other.run(documentVersionId="2")

    assert (told.status, told.json, len(shared.called)) == (403, failure(words.WRONG_KEY), 1)


@pytest.mark.parametrize(
    "page",
    [
        # an image or a link in a page of another site; a form's GET; a script that asks without a preflight
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Origin": "https://evil.example.com", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
    ],
)
def test_a_page_of_another_site_runs_nothing_whatever_its_browser_sends_by_itself(
    shared: Archive, page: dict[str, str]
) -> None:
    before = len(shared.called)
    cookies = {
        "Cookie": f"apiKey={shared.key}",
        "Authorization": "Basic dXNlcjpwYXNz",
        "Referer": page.get("Origin", ""),
    }

    told = shared.ask(f"/customAction?{urlencode(QUERY | {'documentId': 'page'})}", page | cookies)

    assert (told.status, is_in_form(told), len(shared.called)) == (403, True, before)


def test_a_browser_that_asks_whether_it_may_send_a_key_is_told_no(shared: Archive) -> None:
    asks = {
        "Origin": "https://evil.example.com",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "apikey,username",
    }

    for path in ("/customAction", "/serviceInfo"):
        told = shared.ask(path, asks, method="OPTIONS")
        assert (told.status, told.json, is_in_form(told)) == (405, failure(words.WRONG_METHOD), True)


# --- the form of errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_no_other_method_runs_an_action(shared: Archive, method: str) -> None:
    before = len(shared.called)

    told = shared.ask(f"/customAction?{urlencode(QUERY | {'documentId': 'method'})}", shared.proof, method=method)

    assert (told.status, told.headers["allow"], len(shared.called)) == (405, "GET", before)
    assert told.headers["content-type"] == "application/json"
    assert told.json == (None if method == "HEAD" else failure(words.WRONG_METHOD))


@pytest.mark.parametrize(
    "path", ["/customAction/", "/customAction/archive", "/webhooks/customAction/x", "/serviceInfo/x"]
)
def test_a_path_beneath_is_not_found_in_the_same_form(shared: Archive, path: str) -> None:
    told = shared.ask(path, shared.proof)

    assert (told.status, told.json, is_in_form(told)) == (404, failure(words.NOTHING_HERE), True)


ID_RULE = "so nothing was done: it may have letters, digits, blanks and . _ : - and begins with a letter or digit."


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "The parameter name is missing, so nothing was done."),
        ("name=archive&documentVersionId=1", "The parameter documentId is missing, so nothing was done."),
        ("name=archive&documentId=1&documentVersionId=", "The parameter documentVersionId is missing, so nothing was done."),
        ("name=archive&documentId=1&documentId=2&documentVersionId=1", "The parameter documentId is given twice, so nothing was done; give it once."),
        ("name=archive&documentId=1&documentVersionId=" + "1" * 256, "The parameter documentVersionId is longer than 255 characters, so nothing was done."),
        ("name=archive&documentId=..&documentVersionId=1", f"The parameter documentId is no id, {ID_RULE}"),
        ("name=archive&documentId=a%2Fb&documentVersionId=1", f"The parameter documentId is no id, {ID_RULE}"),
        ("name=archive&documentId=1&documentVersionId=1%0A", f"The parameter documentVersionId is no id, {ID_RULE}"),
        ("name=archive&documentId=%FF%FE&documentVersionId=1", f"The parameter documentId is no id, {ID_RULE}"),
        ("name=archive&documentId=%3Cscript%3E&documentVersionId=1", f"The parameter documentId is no id, {ID_RULE}"),
        ("name=other&documentId=1&documentVersionId=1", words.UNKNOWN),
        ("name=%3Cb%3E" + "x" * 999 + "&documentId=1&documentVersionId=1", words.UNKNOWN),
        ("name=archive&documentId=1&documentVersionId=1&x=" + "y" * 8_192, "The query is longer than 8,192 bytes; nothing was done."),
        ("name=archive&documentId=" + "9" * 60_000, "The query is longer than 8,192 bytes; nothing was done."),
        ("%%%&&&==&name", "The parameter name is missing, so nothing was done."),
    ],
)  # fmt: skip
def test_a_bad_query_is_a_handled_failure_in_a_sentence(shared: Archive, query: str, sentence: str) -> None:
    before = len(shared.called)

    told = shared.ask(f"/customAction?{query}", shared.proof)

    assert (told.status, told.json, is_in_form(told)) == (200, failure(sentence), True)
    assert len(shared.called) == before


@pytest.mark.parametrize("username", ["x" * 256, "a\tb"])
def test_a_username_that_is_none_is_a_handled_failure(shared: Archive, username: str) -> None:
    told = shared.ask(f"/customAction?{urlencode(QUERY)}", {"apiKey": shared.key, "username": username})

    assert (told.status, told.json["status"]) == (200, "failure")
    assert "The header username" in told.json["error"]


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        (answer(400), "The other system does not take the action as it is set up in textback: HTTP 400 Bad Request."),
        (answer(401), "The other system does not accept the key that textback has for it: HTTP 401 Unauthorized."),
        (answer(403), "The other system does not let textback do this: HTTP 403 Forbidden."),
        (answer(404), "The other system does not know what this is about: HTTP 404 Not Found."),
        (answer(418), "The other system refused the action: HTTP 418 I'm a Teapot."),
        (answer(499), "The other system refused the action: HTTP 499."),
        (answer(429), "The other system has too much to do; try again in a minute: HTTP 429 Too Many Requests."),
        (answer(503), "The other system has a fault of its own; try again in a while: HTTP 503 Service Unavailable."),
        (redirect("https://elsewhere.example.com/?secret=1"), "The other system refused the action: HTTP 302 Found."),
        (DROP, words._SENTENCES["internalError"]),
    ],
)
def test_each_failure_of_the_third_party_is_told_in_words_and_none_of_its_own(
    shared: Archive, reply: Reply, sentence: str
) -> None:
    secret = {"error": "<html>the key sk-123 is wrong</html>"}
    shared.third_party.plan.append(
        answer(int(reply.data.split()[1]), secret) if b"Location" not in reply.data and reply.data else reply
    )

    told = shared.run(documentId=f"failing-{len(shared.called)}")

    assert (told.status, is_in_form(told)) == (200, True)
    said, _, number = told.json["error"].rpartition(" (call ")
    assert (said, number.rstrip(")").isdigit()) == (sentence, True)


def test_time_out_cap_and_consent_policy_are_told_in_words(shared: Archive) -> None:
    there, url = shared.third_party, shared.third_party.url
    register(shared.textback, "actions", **an_action(url, name="slow", timeout=1))
    register(shared.textback, "actions", **an_action(url, name="ads", marketing_actions=["advertising"]))
    register(
        shared.textback,
        "policies",
        name="only-who-agreed",
        marketing_actions=["advertising"],
        require="consent.may_send",
    )
    there.plan.append(HANG)

    slow, ads = shared.run(name="slow"), shared.run(name="ads")
    cap = url.removeprefix("http://")
    register(shared.textback, "caps", name=cap, calls=1, per=3600)
    first, capped = shared.run(), shared.run(documentVersionId="2")
    assert shared.textback.ask("DELETE", f"/v1/caps/{cap}").status == 204

    assert first.json == SUCCESS
    assert [each.json["error"].rpartition(" (call ")[0] for each in (slow, ads, capped)] == [
        words._SENTENCES["timedout"],
        "The consent policy only-who-agreed forbids it, so nothing was done.",
        words._SENTENCES["capped"],
    ]
    assert [call[3] for call in shared.calls] == ["timedout", "excluded", "success", "capped"]
    assert len(shared.called) == 2


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_a_bug_or_no_database_is_a_500_in_the_same_form_and_no_log_tells_who_asked_for_what(
    database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with archive(database_url, access_log=True) as here:
        done = here.run(documentId="the-secret-document")
        here.ask(f"/customAction?apiKey={here.key}&documentId=the-secret-document", {"username": USER})
        here.textback.write(lambda conn: conn.exec_driver_sql("ALTER TABLE document_runs ADD CHECK (false) NOT VALID"))
        bug = here.run(documentId="the-secret-document", documentVersionId="2")
        here.textback.run(here.textback.parts.writer.stop())
        away = here.run(documentId="the-secret-document", documentVersionId="3")
        key = here.key
    told = "".join(capfd.readouterr())

    assert (done.json, bug.status, bug.json) == (SUCCESS, 500, failure(words.BUG))
    assert (away.status, away.json) == (500, failure(words.AWAY))
    assert is_in_form(bug)
    assert is_in_form(away)
    assert "a bug at the document system's door" in told
    assert [word for word in (key, "the-secret-document", USER, "54b598a700e2342d") if word in told] == []


# --- once ---------------------------------------------------------------------------------------------------------


def test_the_same_again_is_not_run_and_is_answered_as_it_was(here: Archive) -> None:
    told = [here.run() for _ in range(3)]
    others = [here.run(documentVersionId="2"), here.run(documentId="2")]

    assert [each.json for each in (*told, *others)] == [SUCCESS] * 5
    assert [(sent["document"], sent["version"]) for sent in here.called] == [
        (QUERY["documentId"], QUERY["documentVersionId"]), (QUERY["documentId"], "2"),
        ("2", QUERY["documentVersionId"]),
    ]  # fmt: skip


def test_after_the_window_it_is_run_anew(here: Archive) -> None:
    here.run()
    until = here.textback.parts.database.read_now(
        lambda conn: conn.execute(sa.select(document_runs.c.repeats_until)).scalar_one()
    )
    every_call_as_if(here.textback, datetime.now(UTC) - timedelta(seconds=1))

    told = here.run()

    assert told.json == SUCCESS
    assert timedelta(seconds=50) < until - datetime.now(UTC) <= timedelta(seconds=60)
    ids = [sent["id"] for sent in here.called]
    assert len(set(ids)) == 2
    assert here.calls == [("archive", "document", "done", "success", 1)] * 2


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_window_of_nothing_runs_each_request(database_url: str) -> None:
    with archive(database_url, document_window=0) as here:
        assert [here.run().json, here.run().json] == [SUCCESS] * 2
        assert len(here.called) == 2


def test_what_failed_is_run_again_when_somebody_clicks_again(here: Archive) -> None:
    here.third_party.plan.append(answer(404))

    first, second, third = here.run(), here.run(), here.run()

    assert (first.json["status"], second.json, third.json) == ("failure", SUCCESS, SUCCESS)
    assert [call[3] for call in here.calls] == ["http_404", "success"]


@pytest.mark.parametrize("reply", [answer(200, {}, pause=0.4), answer(500, {}, pause=0.4)], ids=["success", "failure"])
def test_two_at_once_are_one_call_and_one_answer(here: Archive, reply: Reply) -> None:
    with ThreadPoolExecutor(6) as people:
        here.third_party.plan.append(reply)

        told = list(people.map(lambda _: here.run(), range(6)))

        assert len(here.called) == 1
        assert len({each.body for each in told}) == 1
        assert [each.status for each in told] == [200] * 6


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_two_nodes_make_one_call_and_give_one_answer(database_url: str) -> None:
    with archive(database_url) as here, serving(database_url, allowed_private_destinations="127.0.0.1") as other:
        nodes = [here.textback, other] * 3
        with ThreadPoolExecutor(6) as people:
            here.third_party.plan.append(answer(404, {}, pause=0.4))
            failed = list(people.map(lambda node: here.run(at=node), nodes))
            done = list(people.map(lambda node: here.run(at=node), nodes))

        assert len({each.body for each in failed}) == 1
        assert [each.json for each in done] == [SUCCESS] * 6
        assert len(here.called) == 2


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_what_was_done_is_told_although_it_cannot_be_written_down_any_more(database_url: str) -> None:
    with archive(database_url) as here, ThreadPoolExecutor(1) as people:
        here.third_party.plan.append(answer(200, {}, pause=0.5))
        told = people.submit(here.run)
        wait_for(lambda: here.third_party.requests)
        here.textback.run(here.textback.parts.writer.stop())

        assert told.result().json == SUCCESS
        assert here.calls == [("archive", "document", "calling", "", 1)]


# --- when a process dies ------------------------------------------------------------------------------------------


def begin(here: Archive, lease: timedelta) -> int:
    """A node that writes down its call, and then is gone."""
    now = datetime.now(UTC)
    event = {"type": "document", "username": USER, **QUERY}
    wanted = documents.Wanted("archive", event)
    held = here.textback.write(partial(documents.hold, wanted=wanted, now=now, lease_until=now + lease))
    assert held.event is not None
    return held.call_id


def test_a_call_that_nobody_ended_is_made_again_after_its_lease_with_the_same_id(here: Archive) -> None:
    call_id = begin(here, timedelta(seconds=-1))

    told = [here.run(), here.run()]

    assert [each.json for each in told] == [SUCCESS] * 2
    assert [sent["id"] for sent in here.called] == [str(call_id)]
    assert here.calls == [("archive", "document", "done", "success", 2)]


def test_while_its_lease_lasts_nobody_makes_it_again_and_who_waited_is_told_to_look(here: Archive) -> None:
    call_id = begin(here, timedelta(seconds=0.5))

    told = here.run()

    assert told.json == failure(f"{words.STILL_RUNNING} (call {call_id})")
    assert here.called == []
    assert here.run().json == SUCCESS


def test_who_held_it_too_long_leaves_the_key_to_who_has_it_by_now(here: Archive) -> None:
    now, event = datetime.now(UTC), {"type": "document", **QUERY}
    slow = documents.Held(documents.Wanted("archive", event).key, begin(here, timedelta(seconds=-1)), event)
    told_before = here.run().json
    every_call_as_if(here.textback, now - timedelta(seconds=1))
    assert here.run().json == SUCCESS

    ended = {"policy": "", "response": "", "problem": "too late", "tries": 1, "now": now, "window": 60.0}
    here.textback.write(partial(documents.settle, held=slow, outcome="timedout", **ended))

    assert (told_before, here.run().json, len(here.called)) == (SUCCESS, SUCCESS, 2)


def test_killed_in_the_middle_of_a_call_it_is_made_once_more_with_the_same_id(
    sqlite_template: Path, tmp_path: Path
) -> None:
    """A real process, kill -9 while the third party works; another takes its place when the lease has lapsed."""
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'textback.db')}"
    port = free_port()
    environ = {
        "TEXTBACK_DATABASE_URL": url, "TEXTBACK_SECRET_KEY": SECRET_KEY, "TEXTBACK_PORT": str(port),
        "TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS": "127.0.0.1",
    }  # fmt: skip
    with running() as third_party, ThreadPoolExecutor(1) as people:
        with serving(url) as before:
            register(before, "actions", **an_action(third_party.url))
            proof = {"apiKey": key_of(before, "document"), "username": USER}
        third_party.plan.append(HANG)
        with running_process(tmp_path, "serve", **environ):
            wait_for(lambda: is_ready(port))
            cut_off = people.submit(asked_of, port, proof)
            wait_for(lambda: third_party.requests)
        assert cut_off.result() is None

        with serving(url, allowed_private_destinations="127.0.0.1") as served:
            here = Archive(served, third_party, proof["apiKey"])
            every_call_as_if(served, datetime.now(UTC) - timedelta(seconds=1))

            told = [here.run().json, here.run().json]

            assert told == [SUCCESS] * 2
            first, second = here.called
            assert first == second
            assert here.calls == [("archive", "document", "done", "success", 2)]


def asked_of(port: int, proof: Mapping[str, str]) -> int | None:
    """The status; None where the other side was gone before it answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", f"/customAction?{urlencode(QUERY)}", headers=dict(proof))
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


# --- what goes with time ------------------------------------------------------------------------------------------


def test_old_keys_go_and_a_call_that_nobody_ended_is_ended(here: Archive) -> None:
    here.run()
    begin_at = datetime.now(UTC) - timedelta(hours=2)
    every_call_as_if(here.textback, begin_at)
    begin(here, timedelta(hours=-2))
    here.run(documentId="fresh")

    gone = here.textback.write(lambda conn: documents.forget(conn, datetime.now(UTC)))
    again = here.textback.write(lambda conn: documents.forget(conn, datetime.now(UTC)))

    assert (gone, again) == (1, 0)
    assert [call[2:4] for call in here.calls] == [
        ("done", "success"),
        ("done", "internalError"),
        ("done", "success"),
    ]
    assert here.run(documentId="fresh").json == SUCCESS
    assert len(here.called) == 2


def test_requests_are_counted_by_what_became_of_them(shared: Archive) -> None:
    before = counted(shared)
    shared.third_party.plan.append(answer(404))
    shared.run()
    for _ in range(3):
        shared.run()
    shared.run(name="other")
    shared.run(documentId="")
    shared.ask("/customAction")

    after = counted(shared)

    risen = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert risen == {"http_404": 1, "success": 1, "repeated": 2, "unknown": 1, "unusable": 1, "refused": 1}


def counted(here: Archive) -> dict[str, float]:
    text = here.textback.ask("GET", "/metrics").body.decode()
    found = re.findall(r'^textback_document_actions_total\{outcome="(\w+)"\} ([0-9.]+)', text, re.MULTILINE)
    return {name: float(value) for name, value in found}
