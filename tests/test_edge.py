"""Look-ups through the real application: what a page learns, what a server of the company learns, and what nobody does."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.audience import Audience, Datastream, Destination
from app.policy import Labels, Policy
from app.record import memberships
from app.registration import Registrations
from app.serve.edge import identity
from app.serve.edge.datastreams import ready
from app.serve.edge.person import fields
from tests.lookups import (
    ALICE,
    BOB,
    COOKIE,
    DESTINATION,
    ECID,
    LOYAL,
    OTHER_ECID,
    PRINTED,
    RECENT,
    SHOP,
    STREAM,
    advertising,
    audience,
    browser,
    datastream,
    furnish,
    is_in,
    page,
    payload,
    personalization,
    register,
    segments,
    server,
)
from tests.serving import ADMIN, Served, serving, serving_copy

NOBODYS = {"personalizationAlias": [], "adServerAlias": []}
HERS = {"personalizationAlias": [LOYAL, RECENT], "adServerAlias": [LOYAL]}
PHONE = {"Phone": [{"id": ALICE}]}


@pytest.fixture(scope="module")
def shop(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Alice is loyal and recent, and browser ECID is hers."""
    with serving_copy(sqlite_template, tmp_path_factory) as served:
        furnish(served)
        is_in(served, ALICE, "loyal", "recent")
        assert server(served, {"ECID": [{"id": ECID}], **PHONE}, ADMIN).status == 200
        yield served


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serving(database_url, evidence_key="an-evidence-key-of-32-characters-or-more") as running:
        yield running


def linked(served: Served, address: str) -> set[str]:
    return set(served.parts.database.read_now(lambda conn: memberships.browsers(conn, address)))


def problem(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == answer.status
    assert answer.json["title"]
    assert answer.json["report"]["requestId"]
    return answer.status, answer.json["detail"]


# --- what a page learns -------------------------------------------------------------------------------------------


def test_the_documents_example_comes_out_as_it_is_printed(shop: Served) -> None:
    answer = page(shop, browser(ECID))

    assert [each for each in payload(answer) if each["destinationId"] == DESTINATION] == PRINTED
    assert list(answer.json) == ["requestId", "handle"]
    assert answer.json["requestId"] == answer.headers["x-request-id"] == "r-1"


def test_several_aliases_stand_side_by_side(shop: Served) -> None:
    assert segments(page(shop, browser(ECID))) == HERS


def test_a_new_browser_gets_an_identity_and_is_known_by_its_cookie_then(shop: Served) -> None:
    first = page(shop, {"query": {"identity": {"fetch": ["ECID"]}}, "events": []})
    [cookie] = payload(first, "state:store")
    [told] = payload(first, "identity:result")

    entries = {"meta": {"state": {"entries": [{"key": COOKIE, "value": cookie["value"]}]}}, "events": []}
    again, sent = page(shop, entries), page(shop, Cookie=f"a=b; {COOKIE}={cookie['value']}; c=d")

    assert re.fullmatch("[0-9]{38}", told["id"])
    assert told["namespace"] == {"code": "ECID"}
    assert (cookie["key"], cookie["maxAge"]) == (COOKIE, 34_128_000)
    assert payload(again, "state:store") == payload(sent, "state:store") == [cookie]
    assert payload(again, "identity:result") is None
    assert segments(first) == segments(again) == NOBODYS


def test_an_identity_is_told_again_where_it_is_asked_for(shop: Served) -> None:
    answer = page(shop, browser(ECID) | {"query": {"identity": {"fetch": ["ECID", "CORE"]}}})

    assert payload(answer, "identity:result") == [{"id": ECID, "namespace": {"code": "ECID"}}]


def test_of_cookie_and_identity_map_the_cookie_counts(shop: Served) -> None:
    """Else a link with somebody's own ECID in it would make a stranger's browser theirs."""
    hers = {"meta": {"state": {"entries": [{"key": COOKIE, "value": identity.cookie_value(ECID)}]}}}

    assert segments(page(shop, browser(OTHER_ECID) | hers)) == HERS


@pytest.mark.parametrize(
    "path",
    ["/ee/v1/interact", "/ee/va6/v1/interact", "/ee/irl1/v1/interact"],
)
def test_the_hint_of_a_region_makes_no_difference(shop: Served, path: str) -> None:
    assert segments(page(shop, browser(ECID), path=path)) == HERS


@pytest.mark.parametrize(
    ("namespace", "claim"),
    [("Phone", "authenticated"), ("phone", "ambiguous"), ("Email", "authenticated"), ("address", "authenticated"),
     ("Phone", None), ("address", 7)],
)  # fmt: skip
def test_no_page_learns_anything_by_a_number_whatever_it_claims(shop: Served, namespace: str, claim: Any) -> None:
    """Neither the answer nor what is stored differs from that of a number that nobody has."""
    asked = {"authenticatedState": claim, "primary": True}
    hers = page(shop, {"xdm": {"identityMap": {namespace: [{"id": ALICE} | asked]}}, "events": []})
    nobodys = page(shop, {"xdm": {"identityMap": {namespace: [{"id": "no number"} | asked]}}, "events": []})
    with_browser = page(shop, {"xdm": {"identityMap": {namespace: [{"id": BOB} | asked], "ECID": [{"id": ECID}]}}})

    assert segments(hers) == segments(nobodys) == NOBODYS
    assert segments(with_browser) == HERS
    assert linked(shop, BOB) == set()


def test_a_token_does_not_make_a_pages_call_a_servers(shop: Served) -> None:
    answer = page(shop, {"xdm": {"identityMap": PHONE}, "events": []}, Authorization=f"Bearer {ADMIN}")

    assert segments(answer) == NOBODYS


@pytest.mark.parametrize("ecid", ["1", "x" * 38, "1" * 39, "١" * 38, "", 12, None, {"id": ECID}])
def test_what_is_no_ecid_is_nobodys_and_replaced(shop: Served, ecid: Any) -> None:
    [cookie] = payload(page(shop, {"xdm": {"identityMap": {"ECID": [{"id": ecid}]}}, "events": []}), "state:store")

    assert identity.is_ecid(identity.read_cookie(cookie["value"]))


# --- what a company's server learns -------------------------------------------------------------------------------


def test_a_server_asks_by_phone_or_by_an_address_as_we_write_it(shop: Served) -> None:
    is_in(shop, "email:carol@example.com", "recent")

    assert segments(server(shop, PHONE, ADMIN)) == HERS
    assert segments(server(shop, {"address": [{"id": ALICE}]}, ADMIN)) == HERS
    assert segments(server(shop, {"Email": [{"id": "carol@example.com"}]}, ADMIN)) == {
        "personalizationAlias": [RECENT], "adServerAlias": [],
    }  # fmt: skip
    assert segments(server(shop, {"ECID": [{"id": ECID}]}, ADMIN)) == HERS
    assert segments(server(shop, {"Phone": [{"id": BOB}]}, ADMIN)) == NOBODYS
    assert segments(server(shop, {"Phone": [{"id": BOB}, {"id": ALICE, "primary": True}]}, ADMIN)) == HERS


def test_both_spellings_of_the_datastream_and_both_forms_of_the_event_are_taken(shop: Served) -> None:
    body = {"events": [{"xdm": {"identityMap": PHONE}}]}
    asked = [
        shop.ask("POST", f"/ee/v2/interact?{name}={STREAM}", body)
        for name in ("datastreamId", "dataStreamId", "configId")
    ]

    assert [segments(answer) for answer in asked] == [HERS] * 3


@pytest.mark.parametrize("number", ["0791234567", "12345", "", "+", "x" * 300, "+1415\u00005550100"])
def test_a_number_that_is_none_is_refused_without_being_repeated(shop: Served, number: str) -> None:
    answer = server(shop, {"Phone": [{"id": number}]}, ADMIN)

    if not number:
        assert segments(answer) == NOBODYS
        return
    status, detail = problem(answer)
    assert status == 422
    assert detail.startswith("identityMap.phone: ")
    assert number not in detail or len(number) < 3


def test_without_a_token_or_its_scope_a_server_is_told_which_it_needs(shop: Served) -> None:
    def token(*scopes: str) -> str:
        made = shop.ask("POST", "/v1/tokens", {"name": "-".join(scopes).replace(":", "."), "scopes": scopes})
        return str(made.json["token"])

    none, unknown = server(shop, PHONE, ""), server(shop, PHONE, "tb_unknown")
    wrong, right = server(shop, PHONE, token("consent:read")), server(shop, PHONE, token("lookup"))

    assert [problem(each)[0] for each in (none, unknown, wrong)] == [401, 401, 403]
    assert "textback token create" in problem(wrong)[1]
    assert wrong.headers["www-authenticate"].endswith('scope="lookup"')
    assert segments(right) == HERS


def test_the_last_link_holds_and_a_link_that_stands_keeps_its_time(served: Served) -> None:
    furnish(served)
    is_in(served, ALICE, "recent")
    is_in(served, BOB, "loyal")
    mine = {"ECID": [{"id": ECID}]}

    def since(address: str) -> Any:
        return served.parts.database.read_now(lambda conn: memberships.browsers(conn, address))[ECID]

    server(served, mine | PHONE, ADMIN)
    first = since(ALICE)
    server(served, mine | PHONE, ADMIN)
    assert since(ALICE) == first
    assert segments(page(served, browser(ECID)))["personalizationAlias"] == [RECENT]
    server(served, mine | {"Phone": [{"id": BOB}]}, ADMIN)

    assert segments(page(served, browser(ECID)))["personalizationAlias"] == [LOYAL]
    assert linked(served, ALICE) == set()
    assert since(BOB) > first


def test_an_erased_person_has_no_browser_and_gets_none(served: Served) -> None:
    furnish(served)
    is_in(served, ALICE, "loyal")
    both = {"ECID": [{"id": ECID}], **PHONE}
    server(served, both, ADMIN)
    assert segments(page(served, browser(ECID)))["adServerAlias"] == [LOYAL]

    erased = served.ask("POST", "/v1/erasures", {"address": ALICE, "reason": "a letter", "actor": "dora"})
    again = server(served, both, ADMIN)

    assert erased.status == 200, erased.body
    assert linked(served, ALICE) == set()
    assert segments(page(served, browser(ECID))) == segments(again) == NOBODYS
    assert again.json["warnings"][0]["title"] == "Not linked"


# --- governance ---------------------------------------------------------------------------------------------------


def consents(served: Served, address: str, state: str) -> None:
    change = {"state": state, "reason": "asked for it", "actor": "dora"}
    assert served.ask("PUT", f"/v1/consent/{address}", change).status == 200


def test_a_destination_is_left_out_of_for_whom_its_consent_policy_is_not_met(served: Served) -> None:
    register(served, "policies", {"name": "ads", "marketing_actions": ["advertising"],
                                  "require": "consent.state = 'opted_in' and profile.ads = 'yes'"})  # fmt: skip
    register(served, "audiences", audience("loyal"), audience("recent"))
    register(served, "datastreams", datastream())
    register(served, "destinations", personalization(), advertising(marketing_actions=["advertising"]))
    for address in (ALICE, BOB):
        is_in(served, address, "loyal")
        served.ask("PATCH", f"/v1/profiles/{address}", {"attributes": {"ads": "yes"}})
    consents(served, ALICE, "opted_in")
    server(served, {"ECID": [{"id": ECID}], **PHONE}, ADMIN)
    server(served, {"ECID": [{"id": OTHER_ECID}], "Phone": [{"id": BOB}]}, ADMIN)

    def aliases(ecid: str) -> set[str]:
        return set(segments(page(served, browser(ecid))))

    assert aliases(ECID) == {"personalizationAlias", "adServerAlias"}
    assert aliases(OTHER_ECID) == {"personalizationAlias"}
    assert aliases("5" * 38) == {"personalizationAlias"}  # of nobody's browser no consent is known
    consents(served, ALICE, "opted_out")
    assert aliases(ECID) == {"personalizationAlias"}
    consents(served, ALICE, "opted_in")
    served.ask("PATCH", f"/v1/profiles/{ALICE}", {"attributes": {"ads": "no"}})
    assert aliases(ECID) == {"personalizationAlias"}


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_attributes_are_told_to_servers_alone_and_denied_ones_to_nobody(served: Served) -> None:
    register(served, "audiences", *map(audience, ("loyal", "recent")))
    register(served, "datastreams", datastream())
    register(served, "destinations", personalization(attributes=["tier", "age"], marketing_actions=["advertising"]))
    is_in(served, ALICE, "loyal")
    served.ask("PATCH", f"/v1/profiles/{ALICE}", {"attributes": {"tier": "gold", "city": "Basel"}})
    both = {"ECID": [{"id": ECID}], **PHONE}

    [told] = payload(server(served, both, ADMIN))
    [shown] = payload(page(served, browser(ECID)))

    assert told == shown | {"attributes": {"tier": {"value": "gold"}}}
    assert list(told) == ["type", "destinationId", "alias", "attributes", "segments"]
    assert "gold" not in page(served, browser(ECID)).body.decode()


def told(*policies: Policy, labels: tuple[Labels, ...] = (), broken: tuple[str, str] = ("", "")) -> list[Any]:
    """What a server is told of somebody loyal, whatever was saved before there were policies."""
    others = Registrations(
        labels={each.name: each for each in labels},
        policies={each.name: each for each in policies},
        audiences={"loyal": Audience(**audience("loyal"))},
        datastreams={STREAM: Datastream(**datastream())},
        destinations={"ads": Destination(**advertising(attributes=["tier"], marketing_actions=["advertising"]))},
        broken={broken: "its key is lost"},
    )
    found = ready(others)[STREAM]
    allowed = found.allowed(fields(None, {"tier": "gold"})) if found.governs else None
    return list(json.loads(found.told(("loyal",), allowed, {"tier": "gold"})))


C4 = Labels(name="profile.tier", labels=["C4"])


def test_a_denied_attribute_is_told_to_nobody() -> None:
    denies = Policy(name="no-contract", marketing_actions=["advertising"], deny=["C4"])
    elsewhere = Policy(name="no-export", marketing_actions=["export"], deny=["C4"])

    assert told(elsewhere, labels=(C4,))[0]["attributes"] == {"tier": {"value": "gold"}}
    assert "attributes" not in told(denies, labels=(C4,))[0]


def test_what_cannot_be_read_forbids() -> None:
    assert told(broken=("policy", "lost")) == []
    assert "attributes" in told(broken=("labels", "profile.city"))[0]
    assert "attributes" not in told(broken=("labels", "profile.tier"))[0]


def test_a_policy_without_marketing_actions_is_about_every_destination() -> None:
    assert told(Policy(name="all", require="consent.may_send")) == []
    assert len(told(Policy(name="other", marketing_actions=["export"], require="consent.may_send"))) == 1


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"datastream": "elsewhere"}, "there is no datastream 'elsewhere'"),
        ({"audiences": ["loyal", "lapsed"]}, "there is no audience 'lapsed'"),
    ],
)
def test_a_destination_that_fits_nothing_is_refused(shop: Served, more: dict[str, Any], sentence: str) -> None:
    answer = shop.ask("PUT", "/v1/destinations/personalization", personalization(**more))

    assert answer.status == 422
    assert sentence in answer.json["detail"]


def test_what_a_destination_uses_is_not_deleted(shop: Served) -> None:
    assert shop.ask("DELETE", f"/v1/datastreams/{STREAM}").status == 409
    assert shop.ask("DELETE", "/v1/audiences/loyal").status == 409


# --- who may ask --------------------------------------------------------------------------------------------------

CORS = {"access-control-allow-origin": SHOP, "access-control-allow-credentials": "true"}


def cors(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-allow-")}


def test_a_page_of_the_datastream_may_read_the_answer(shop: Served) -> None:
    answer = page(shop)

    assert cors(answer) == CORS
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"] == "application/json;charset=utf-8"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example.org", "null", "http://www.example.com", "https://www.example.com:8443",
     "https://www.example.com.evil.example.org", "https://WWW.example.com", "https://example.com", "*", ""],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_a_page_of_any_other_origin_may_not(shop: Served, origin: str, method: str) -> None:
    answer = shop.ask(
        method, f"/ee/v1/interact?configId={STREAM}", browser(ECID), token=None, headers={"Origin": origin}
    )

    status, detail = problem(answer)
    assert status == 403
    assert cors(answer) == {}
    assert answer.headers["vary"] == "Origin"
    assert origin in ("", "*") or origin not in detail


def test_a_preflight_is_told_what_a_page_may_send(shop: Served) -> None:
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answer = shop.ask("OPTIONS", f"/ee/v1/interact?configId={STREAM}", token=None, headers=asked)

    assert (answer.status, answer.body) == (204, b"")
    assert cors(answer) == CORS | {
        "access-control-allow-methods": "POST", "access-control-allow-headers": "content-type, x-request-id",
    }  # fmt: skip


def test_who_is_no_browser_sends_no_origin_and_is_answered_without_headers_for_one(shop: Served) -> None:
    answer = shop.ask("POST", f"/ee/v1/interact?configId={STREAM}", browser(ECID), token=None)

    assert segments(answer) == HERS
    assert cors(answer) == {}


def test_a_page_never_reads_what_a_server_is_answered(shop: Served) -> None:
    sent = {"Origin": SHOP}
    asked = shop.ask("POST", f"/ee/v2/interact?datastreamId={STREAM}", {"event": {}}, headers=sent)
    before = shop.ask("OPTIONS", f"/ee/v2/interact?datastreamId={STREAM}", token=None, headers=sent)

    assert (asked.status, cors(asked)) == (200, {})
    assert (problem(before)[0], cors(before)) == (405, {})


@pytest.mark.parametrize("stream", ["", "elsewhere", STREAM.upper(), STREAM + "%00", "%ff"])
def test_of_a_datastream_that_is_none_only_that_is_told(shop: Served, stream: str) -> None:
    answer = page(shop, browser(ECID), stream=stream)

    assert problem(answer) == (404, "There is no such datastream; configId (v1) or datastreamId (v2) names one.")
    assert cors(answer) == {}
    assert shop.ask("POST", "/ee/v2/interact", {}).status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "PATCH"])
def test_another_method_is_told_which_are_right(shop: Served, method: str) -> None:
    answer = shop.ask(method, f"/ee/v1/interact?configId={STREAM}", token=None)

    assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")
    assert method == "HEAD" or problem(answer)[0] == 405


@pytest.mark.parametrize(
    "path",
    ["/ee/", "/ee/v1", "/ee/v3/interact", "/ee/v1/interact/", "/ee/a/b/v1/interact", "/ee/v1/collect", "/ee/../v1"],
)
def test_other_paths_are_nowhere(shop: Served, path: str) -> None:
    assert problem(shop.ask("POST", path, {}))[0] == 404


# --- what is sent -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"7", b'"text"', b'{"events":{}}', b'{"events":null}', b"\xff\xfe", b"[" * 50_000,
     b'{"a":NaN}', b'{"a":"\\ud800"}'],
)  # fmt: skip
def test_what_is_not_the_vendors_form_is_refused_with_a_sentence_for_its_page(shop: Served, body: bytes) -> None:
    answer = page(shop, body)

    assert problem(answer)[0] == 400
    assert cors(answer) == CORS


ODD = [None, 7, "text", [], {}, [None], [7], [[]], {"id": 7}, [{"id": []}], True]


@pytest.mark.parametrize(
    "place",
    [("xdm",), ("xdm", "identityMap"), ("xdm", "identityMap", "ECID"), ("meta",), ("meta", "state"),
     ("meta", "state", "entries"), ("query",), ("query", "identity"), ("query", "identity", "fetch"), ("event",)],
    ids=".".join,
)  # fmt: skip
def test_odd_values_anywhere_are_as_good_as_nothing(shop: Served, place: tuple[str, ...]) -> None:
    for odd in ODD:
        body: Any = odd
        for name in reversed(place):
            body = {name: body}

        assert segments(page(shop, body | {"events": [odd]})) == NOBODYS
    assert segments(shop.ask("POST", f"/ee/v2/interact?datastreamId={STREAM}", body)) == NOBODYS


@pytest.mark.parametrize(
    "value", ["", "x", "=", "Ci", "é", "A" * 2_000, "CiY", identity.cookie_value(ECID)[:-4], "Cib%5F", "Ci Y", 7, None]
)
def test_a_cookie_that_is_not_ours_is_replaced(shop: Served, value: Any) -> None:
    body = {"meta": {"state": {"entries": [{"key": "other", "value": "x"}, {"key": COOKIE, "value": value}]}}}
    [cookie] = payload(page(shop, body), "state:store")

    assert cookie["value"] != value
    assert identity.read_cookie(cookie["value"])


def test_a_cookie_of_the_vendors_stays_who_it_is() -> None:
    """Its message has more fields: https://github.com/adobe/alloy, core/src/utils/createDecodeKndctrCookie.js."""
    from base64 import urlsafe_b64encode

    message = b"\n\x26" + ECID.encode() + b"R\x0a\x08\x00\x10\x01\x18\x01*\x04IRL1\xf0\x01\x00"

    assert identity.read_cookie(urlsafe_b64encode(message).decode()) == ECID


def test_no_two_browsers_get_the_same_identity() -> None:
    made = {identity.minted() for _ in range(2_000)}

    assert len(made) == 2_000
    assert all(map(identity.is_ecid, made))


def test_64_kib_are_taken_and_one_byte_more_is_not(shop: Served) -> None:
    def filled(size: int) -> bytes:
        body = json.dumps(browser(ECID) | {"filling": ""}).encode()
        return body[:-2] + b"x" * (size - len(body)) + body[-2:]

    assert segments(page(shop, filled(65_536))) == HERS
    over = page(shop, filled(65_537))
    assert problem(over)[0] == 413
    assert cors(over) == CORS
    assert chunked(shop, 200_000).startswith(b"HTTP/1.1 413 ")


def chunked(shop: Served, size: int) -> bytes:
    """The first bytes of the answer to a body that does not tell its length."""
    with socket.create_connection(("127.0.0.1", int(shop.url.rpartition(":")[2])), timeout=20) as wire:
        head = f"POST /ee/v1/interact?configId={STREAM} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        wire.sendall(head.encode() + b"%x\r\n" % size + b"x" * size + b"\r\n0\r\n\r\n")
        return wire.recv(1_000)


@pytest.mark.parametrize("given", ["a b", "<script>", "x" * 65, 'a"b', "é", ""])
def test_a_request_id_that_is_not_safe_is_replaced(shop: Served, given: str) -> None:
    from urllib.parse import quote

    answer = shop.ask("POST", f"/ee/v1/interact?configId={STREAM}&requestId={quote(given)}", browser(ECID), token=None)

    assert re.fullmatch("[0-9a-f-]{36}", answer.json["requestId"])
    assert answer.headers["x-request-id"] == answer.json["requestId"]


def test_look_ups_are_counted_and_no_identity_is_in_metrics_or_logs(
    shop: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    page(shop, browser(ECID))
    page(shop, browser(OTHER_ECID))
    page(shop, b"{")
    page(shop, stream="elsewhere")
    metrics = shop.ask("GET", "/metrics").body.decode()
    logs = "".join(capfd.readouterr())

    for outcome in ("known", "unknown", "malformed"):
        assert f'textback_lookups_total{{datastream="{STREAM}",outcome="{outcome}"}}' in metrics
    assert 'textback_lookups_total{datastream="",outcome="no_datastream"}' in metrics
    assert "textback_lookup_seconds_count" in metrics
    for secret in (ECID, OTHER_ECID, ALICE, ALICE[1:]):
        assert secret not in metrics
        assert secret not in logs


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_a_change_of_the_registry_holds_at_once(served: Served) -> None:
    furnish(served)
    is_in(served, ALICE, "loyal")
    server(served, {"ECID": [{"id": ECID}], **PHONE}, ADMIN)
    assert segments(page(served, browser(ECID)))["adServerAlias"] == [LOYAL]

    assert served.ask("PUT", "/v1/destinations/advertising", advertising(alias="other", audiences=[])).status == 200

    assert segments(page(served, browser(ECID))) == {"personalizationAlias": [LOYAL], "other": []}


def test_many_at_once_are_each_told_their_own(shop: Served) -> None:
    wrong: list[Any] = []

    def ask(number: int) -> None:
        hers = number % 2 == 0
        found = segments(page(shop, browser(ECID if hers else f"{number:038d}")))
        if found != (HERS if hers else NOBODYS):
            wrong.append(found)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert wrong == []


@pytest.mark.parametrize("given", [14155550100, True, {"a": 1}, [ALICE]])
def test_what_is_no_text_names_nobody(shop: Served, given: Any) -> None:
    other = {"ECID": [{"id": OTHER_ECID}]}

    answer = server(shop, {"Email": [{"id": given}], **other}, ADMIN)

    assert problem(answer) == (422, "identityMap.email: the id is no text; send it in quotes, or leave it out.")
    assert linked(shop, "email:true") == set()


def test_an_id_that_is_null_is_none(shop: Served) -> None:
    """Else all visitors for whom a company has no address would be one person."""
    answer = server(shop, {"Email": [{"id": None}], "ECID": [{"id": OTHER_ECID}]}, ADMIN)

    assert segments(answer) == NOBODYS
    assert linked(shop, "email:none") | linked(shop, "email:None") == set()
