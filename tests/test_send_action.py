"""A custom action on the wire: what a third party gets of path, headers, query and payload, and how it is proved."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest

from app.action import Action
from app.errors import BadInput
from app.send import Actions
from app.send.actions.ready import check, texts_of
from tests import fake_provider
from tests.acting import FIELDS, acting, action, called, calls, registered
from tests.certificates import authority, demanding
from tests.fake_provider import FakeProvider, answer

KEY = "a-key-of-at-least-32-characters-long"


@pytest.fixture
def party() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


def sent(party: FakeProvider, *, fields: Any = FIELDS, **given: Any) -> fake_provider.Received:
    found = called(action(f"{party.url}/v1/", **given), fields=fields)
    assert (found.outcome, found.tries) == ("success", 1)
    return party.requests[-1]


def refused(party: FakeProvider, *, fields: Any = FIELDS, **given: Any) -> str:
    """Why nothing was sent."""
    found = called(action(f"{party.url}/v1/", **given), fields=fields)
    assert (found.outcome, found.tries, party.requests) == ("internalError", 0, [])
    return found.problem


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_path_headers_query_and_payload_are_filled_in(party: FakeProvider) -> None:
    request = sent(
        party,
        path="_id + '/messages'",
        headers={"X-Source": "textback", "Idempotency-Key": "{{_id}}"},
        query={"lang": "en", "who": "{{profile.firstName}} & {{$uppercase(profile.city)}}"},
        payload={
            "text": "{{event.text}}",
            "from": {"name": "Dear {{profile.firstName}}"},
            "list": [1, "{{event._id}}"],
        },
    )

    assert (request.method, request.target) == ("POST", "/v1/4711/messages?lang=en&who=Ann+%26+BERN")
    assert request.headers["x-source"] == "textback"
    assert request.headers["idempotency-key"] == "4711"
    assert (request.headers["content-type"], request.headers["charset"]) == ("application/json", "UTF-8")
    assert request.json == {"text": "Hello", "from": {"name": "Dear Ann"}, "list": [1, "4711"]}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_each_method_leaves(party: FakeProvider, method: str) -> None:
    request = sent(party, method=method, query={"a": "{{_id}}"})

    assert (request.method, request.target, request.body) == (method, "/v1/?a=4711", b"")


def test_the_url_may_have_a_query_of_its_own(party: FakeProvider) -> None:
    found = called(action(f"{party.url}/v1?a=1", query={"b": "{{_id}}"}))

    assert (found.outcome, party.requests[0].target) == ("success", "/v1?a=1&b=4711")


def test_a_leaf_that_is_one_place_keeps_the_type(party: FakeProvider) -> None:
    fields = {"event": {"_id": "1", "text": "a"}, "profile": {}, "consent": {"may_send": True}}

    request = sent(
        party,
        fields=fields,
        payload=[
            "{{consent.may_send}}",
            "{{$length(event.text)}}",
            "{{[1..3]}}",
            "x{{consent.may_send}}",
            2.5,
            None,
            {},
        ],
    )

    assert request.json == [True, 1, [1, 2, 3], "xtrue", 2.5, None, {}]


def test_no_character_of_a_value_breaks_out_of_its_place(party: FakeProvider) -> None:
    evil = '","admin":true,"x":"\r\nX-Evil: 1&a=2#/b/{{profile.firstName}}'

    request = sent(
        party,
        fields={"event": {"text": evil}},
        path="'x' + text",
        query={"q": "{{event.text}}"},
        payload={"t": "{{event.text}}"},
    )

    assert request.json == {"t": evil}
    assert dict(parse_qsl(urlsplit(request.target).query)) == {"q": evil}
    assert request.target.count("/") == 2
    assert "x-evil" not in request.headers


def test_the_content_type_may_be_another_of_json(party: FakeProvider) -> None:
    request = sent(party, headers={"content-type": "application/vnd.api+json"}, payload={})

    assert request.headers["content-type"] == "application/vnd.api+json"
    assert request.body == b"{}"


# --- values that are not there ----------------------------------------------------------------------------------------


def test_optional_is_left_out_and_nullable_is_null(party: FakeProvider) -> None:
    request = sent(
        party,
        headers={"X-Zip": "{{profile.zip}}", "X-City": "{{profile.city}}"},
        query={"zip": "{{profile.zip}}", "city": "{{profile.city}}"},
        payload={
            "zip": "{{profile.zip}}", "greeting": "Dear {{profile.lastName}}", "address": {"a": 1, "b": ["{{profile.zip}}"]},
            "nothing": "{{profile.zip}}", "a.b": "{{$uppercase(profile.zip)}}", "list": [1, "{{profile.zip}}", 3],
        },
        optional=["headers.X-Zip", "query.zip", "payload.zip", "payload.address", "payload.list.1", "query.city"],
        nullable=["payload.nothing", "payload.greeting", "payload.a\\.b"],
    )  # fmt: skip

    assert request.target == "/v1/?city=Bern"
    assert ("x-zip" in request.headers, request.headers["x-city"]) == (False, "Bern")
    assert request.json == {"nothing": None, "greeting": None, "a.b": None, "list": [1, 3]}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"path": "_id + profile.zip"}, "path: profile.zip has no value"),
        ({"query": {"zip": "{{profile.zip}}"}}, "query.zip: profile.zip has no value"),
        ({"headers": {"X-Zip": "a{{profile.zip}}"}}, "headers.X-Zip: profile.zip has no value"),
        ({"payload": {"a": [{"zip": "{{profile.zip}}"}]}}, "payload.a.0.zip: profile.zip has no value"),
        (
            {"payload": {"zip": "{{ $uppercase(profile.zip) }}"}},
            "payload.zip: {{$uppercase(profile.zip)}} has no value",
        ),
        ({"payload": {"n": "{{$number(event.text)}}"}}, "payload.n: {{$number(event.text)}}: the expression fails"),
    ],
)
def test_a_missing_value_is_named_and_nothing_is_sent(party: FakeProvider, given: Any, sentence: str) -> None:
    assert refused(party, **given).startswith(f"Nothing was sent: {sentence}")


def test_a_header_takes_no_line_break_and_nothing_beyond_ascii(party: FakeProvider) -> None:
    for text in ("a\r\nb", "Zoë", "a\0"):
        problem = refused(party, headers={"X-Text": "{{event.text}}"}, fields={"event": {"text": text}})

        assert problem == (
            "Nothing was sent: headers.X-Text would get a line break or a character beyond ASCII,"
            " which fits into no header."
        )


def test_half_of_a_character_is_sent_nowhere(party: FakeProvider) -> None:
    problem = refused(party, payload={"t": "{{event.text}}"}, fields={"event": {"text": "\ud83d"}})

    assert problem == "Nothing was sent: payload: a value of it is no JSON, such as half of a character."


# --- proofs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"type": "basic", "username": "acme", "password": "secret"}, "authorization", "Basic YWNtZTpzZWNyZXQ="),
        ({"type": "bearer", "token": "t0ken"}, "authorization", "Bearer t0ken"),
        ({"type": "api_key", "name": "X-Key", "token": "t0ken"}, "x-key", "t0ken"),
    ],
)
def test_a_standing_proof_is_sent(party: FakeProvider, auth: dict[str, str], header: str, value: str) -> None:
    assert sent(party, auth=auth).headers[header] == value


def test_a_key_in_the_query_stands_before_the_parameters(party: FakeProvider) -> None:
    auth = {"type": "api_key", "name": "key", "token": "a b&c", "place": "query"}

    assert sent(party, auth=auth, path="'x'", query={"q": "{{_id}}"}).target == "/v1/x?key=a+b%26c&q=4711"


def test_a_jwt_and_a_mac_are_made_for_each_request(party: FakeProvider) -> None:
    signed = sent(party, auth={"type": "jwt", "key": KEY, "claims": {"iss": "acme"}})
    maced = [
        sent(party, auth={"type": "mac", "token": "id", "secret": "s"}, payload={}).headers["authorization"]
        for _ in "ab"
    ]

    token = signed.headers["authorization"].removeprefix("Bearer ")
    assert jwt.decode(token, KEY, ["HS256"])["iss"] == "acme"
    assert all(re.match(r'MAC id="id", ts="\d+", nonce="\w+", mac="', each) for each in maced)
    assert maced[0] != maced[1]


OAUTH = {"grant_type": "client_credentials", "client_id": "acme", "client_secret": "s"}


@pytest.fixture
def tokens() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        running.judge = lambda _: answer(200, {"access_token": f"T{len(running.requests)}", "expires_in": 3600})
        yield running


def test_an_access_token_is_kept_over_calls_while_the_action_is_as_it_was(
    party: FakeProvider, tokens: FakeProvider
) -> None:
    one = action(f"{party.url}/", auth={"type": "oauth", "url": f"{tokens.url}/token", "body": OAUTH})
    other = one.model_copy(update={"description": "changed"})

    async def story(actions: Actions) -> None:
        for again in (one, one, other):
            await actions.call("crm", FIELDS)
            actions.follow(registered(again))
        await actions.call("crm", FIELDS)

    acting(story, one)

    assert [request.headers["authorization"] for request in party.requests] == ["Bearer T1"] * 3 + ["Bearer T2"]
    assert [request.form for request in tokens.requests] == [OAUTH] * 2


def test_a_401_to_a_new_token_is_the_last_word(party: FakeProvider, tokens: FakeProvider) -> None:
    one = action(f"{party.url}/", auth={"type": "oauth", "url": f"{tokens.url}/token", "body": OAUTH})
    party.plan.extend([answer(200), answer(401), answer(401), answer(200)])

    found = calls(one, fields=[FIELDS, FIELDS])

    # a token of a moment ago is as good as any other, so the 401 is the last word
    assert [(each.outcome, each.tries) for each in found] == [("success", 1), ("http_401", 1)]
    assert (len(tokens.requests), len(party.requests)) == (1, 2)


def test_without_an_access_token_nothing_is_sent(party: FakeProvider, tokens: FakeProvider) -> None:
    tokens.judge = lambda _: answer(400, {"error": "invalid_client"})
    one = action(f"{party.url}/", auth={"type": "oauth", "url": f"{tokens.url}/token", "body": OAUTH}, retries=0)

    found = called(one)

    assert (found.outcome, found.problem) == (
        "internalError", "no access token: 127.0.0.1 answered 400, error invalid_client.",
    )  # fmt: skip
    assert party.requests == []


def test_a_certificate_is_shown(tmp_path: Path) -> None:
    ours, theirs = authority("Our authority"), authority("Theirs")
    mine = ours.issue("textback")
    shown = {"certificate": mine.certificate, "key": mine.key, "authority": theirs.certificate}
    with fake_provider.running(tls=demanding(theirs.issue("crm.example"), ours, tmp_path)) as party:
        url = f"https://crm.example:{party.port}/v1/"

        found = called(action(url, client_certificate=shown, payload={"id": "{{_id}}"}))
        without = called(action(url, client_certificate=None, retries=0))

    assert found.outcome == "success"
    assert party.requests[0].json == {"id": "4711"}
    assert (without.outcome, len(party.requests)) == ("internalError", 1)


# --- what could never be called ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"url": "ftp://api.example.com/"}, "url: the URL must be like https://api.example.com/messages"),
        ({"url": "https://{{event.text}}/"}, "url: it is the part that never changes"),
        ({"url": "https://u:p@api.example.com/"}, "url: the URL has a user name in it"),
        ({"url": "https://api.example.com/a#b"}, "url: it has a fragment (#)"),
        ({"url": "https://api.example.com/a/../b"}, "url: this leads to another path"),
        ({"url": "https://api.example.com/?a=1", "path": "_id"}, "url: with a path behind it there can be no ? in it"),
        ({"path": "_id + "}, "path, character 7: here a text in quotes, a field or a function should stand"),
        ({"payload": {"a": {"b": "{{event.txt}}"}}}, "payload.a.b: 'event.txt' is no field; did you mean 'event.text'?"),
        ({"payload": {"a": "{{text}}"}}, "payload.a: 'text' is no field; did you mean 'event.text'?"),
        ({"payload": {"a": "{{event.text"}}, "payload.a: a placeholder is opened with {{ and never closed"),
        ({"payload": {"a": "{{$upper(event.text)}}"}}, "payload.a: $upper(event.text)"),
        ({"payload": {"{{event.text}}": 1}}, "stands where a field has its name"),
        ({"query": {"q": "{{event.text + }}"}}, "query.q: event.text +"),
        ({"query": {"{{_id}}": "1"}}, "{{_id}} stands where a field has its name"),
        (
            {"query": {"key": "x"}, "auth": {"type": "api_key", "name": "key", "token": "t", "place": "query"}},
            "query and auth set the same parameter; leave it to auth",
        ),
        ({"headers": {"X-A": "ä"}}, "headers.X-A has a line break or a character beyond ASCII"),
        ({"headers": {"X-A": "a", "x-a": "b"}}, "headers: one of them is there twice"),
        ({"headers": {"Host": "evil.example"}}, "headers: Charset is always UTF-8, and Host, lengths and Connection"),
        ({"headers": {"Content-Type": "text/plain"}}, "headers: Content-Type should be application/json"),
        (
            {"headers": {"authorization": "x"}, "auth": {"type": "bearer", "token": "t"}},
            "headers and auth set the same header; leave it to auth",
        ),
        (
            {"headers": {"Authorization": "x"}, "auth": {"type": "jwt", "key": KEY}},
            "headers and auth set the same header; leave it to auth",
        ),
        ({"auth": {"type": "bearer", "token": ""}}, "auth: the token is empty"),
        (
            {"url": "http://api.example.com/", "client_certificate": {"certificate": "x", "key": "y"}},
            "client_certificate: the url must begin with https",
        ),
        ({"optional": ["payload.zip"]}, "optional names 'payload.zip', which is no parameter; write payload.name"),
        (
            {"query": {"zip": "{{profile.zip}}"}, "optional": ["query.zap"]},
            "optional names 'query.zap', which is no parameter; did you mean 'query.zip'?",
        ),
        ({"query": {"a": "1"}, "optional": ["query.a"]}, "optional names 'query.a', which is constant"),
        ({"query": {"a": "{{_id}}"}, "nullable": ["query.a"]}, "nullable names 'query.a'; only JSON has a null"),
        (
            {"payload": {"a": "{{_id}}"}, "nullable": ["payload.a"], "optional": ["payload.a"]},
            "'payload.a' is named twice in optional and nullable",
        ),
        ({"payload": {"a": 2**64}}, "payload cannot be sent"),
    ],
)  # fmt: skip
def test_what_could_never_be_called_is_told_with_its_mend(given: dict[str, Any], sentence: str) -> None:
    wanted = Action.model_validate({"name": "crm", "url": "https://api.example.com/v1/", **given})

    with pytest.raises(BadInput, match=re.escape(sentence)):
        check(wanted)


def test_everything_that_an_action_says_of_fields_is_told() -> None:
    one = action(
        "https://api.example.com/",
        path="_id + profile.zip",
        headers={"X": "{{consent.state}}"},
        query={"q": "a{{$uppercase(_id)}}"},
        payload={"a": ["{{event.text}}", 1, {"b": "{{profile.firstName & '}}'}}"}]},
    )

    assert texts_of(one) == [
        "event._id", "profile.zip", "consent.state", "$uppercase(_id)", "event._id", "event.text",
        "profile.firstName & '}}'",
    ]  # fmt: skip
    assert texts_of(one.model_copy(update={"path": "_id +"}))[:2] == ["_id +", "event._id"]
    assert json.dumps(texts_of(action("https://api.example.com/"))) == "[]"
