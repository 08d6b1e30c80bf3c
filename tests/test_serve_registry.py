"""The registry API: credentials, webhooks, replies and tokens, whose secrets go in and never come out."""

from collections.abc import Iterator
from typing import Any

import pytest

from app.record import registry
from tests.serving import Served, serving

CREDENTIAL = {
    "name": "acme",
    "provider": "twilio",
    "app_id": "AC0123",
    "auth": {"type": "basic", "username": "AC0123", "password": "the-auth-token"},
    "headers": {"X-Key": "in-a-header"},
}
WEBHOOK = {
    "name": "acme-inbound",
    "provider": "twilio",
    "credential": "acme",
    "sender": "+14155550199",
    "region": "US",
    "secret": "the-signing-secret",
}
SECRETS = ("the-auth-token", "in-a-header", "the-signing-secret")


@pytest.fixture
def served(database_url: str) -> Iterator[Served]:
    with serving(database_url) as running:
        yield running


@pytest.fixture
def acme(served: Served) -> Served:
    """A server with one credential and one webhook."""
    assert served.ask("POST", "/v1/credentials", CREDENTIAL).status == 201
    assert served.ask("POST", "/v1/webhooks", WEBHOOK).status == 201
    return served


def stored_credential(served: Served) -> Any:
    return served.parts.database.read_now(lambda conn: registry.read_credential(conn, served.parts.vault, "acme"))


def stored_webhook(served: Served) -> Any:
    entry = served.parts.database.read_now(lambda conn: registry.read_webhook(conn, served.parts.vault, "acme-inbound"))
    return entry and entry.webhook


def test_secrets_are_stored_and_never_shown(acme: Served) -> None:
    paths = ("/v1/credentials", "/v1/credentials/acme", "/v1/webhooks", "/v1/webhooks/acme-inbound")
    shown = b"".join(acme.ask("GET", path).body for path in paths).decode()

    assert [secret for secret in SECRETS if secret in shown] == []
    assert acme.ask("GET", "/v1/credentials/acme").json["auth"] == {
        "type": "basic",
        "username": "AC0123",
        "password": "***",
    }
    assert stored_credential(acme).auth.password.get_secret_value() == "the-auth-token"
    assert stored_credential(acme).headers == {"X-Key": "in-a-header"}
    assert stored_webhook(acme).secrets == (b"the-signing-secret",)


def test_a_webhook_answers_with_the_url_at_which_it_hears_at_once(acme: Served) -> None:
    url = acme.ask("GET", "/v1/webhooks/acme-inbound").json["url"]

    base, _, token = url.rpartition("/in/")
    assert base == acme.url
    assert len(token) >= 32
    # not signed, so refused; but known
    assert acme.ask("POST", f"/in/{token}", b"Body=STOP", token=None).status == 401
    assert acme.ask("POST", f"/in/{token}x", b"Body=STOP", token=None).status == 404


def test_the_public_url_is_where_webhooks_are(database_url: str) -> None:
    with serving(database_url, public_url="https://hooks.example.com/textback/") as served:
        webhook = served.ask("POST", "/v1/webhooks", {**WEBHOOK, "credential": None}).json

    assert webhook["url"].startswith("https://hooks.example.com/textback/in/")


def test_a_rotated_webhook_hears_at_its_new_url_alone(acme: Served) -> None:
    old = acme.ask("GET", "/v1/webhooks/acme-inbound").json["url"]

    answer = acme.ask("POST", "/v1/webhooks/acme-inbound/rotate")

    new = answer.json["url"]
    assert (answer.status, new == old) == (200, False)
    assert acme.ask("POST", old.removeprefix(acme.url), b"", token=None).status == 404
    assert acme.ask("POST", new.removeprefix(acme.url), b"", token=None).status == 401
    assert stored_webhook(acme).secrets == (b"the-signing-secret",)


@pytest.mark.parametrize(
    "auth",
    [
        pytest.param({"type": "basic", "username": "AC9", "password": "***"}, id="starred"),
        pytest.param({"type": "basic", "username": "AC9"}, id="left out"),
    ],
)
def test_a_put_with_stars_or_without_the_secret_keeps_the_stored_one(acme: Served, auth: dict[str, str]) -> None:
    answer = acme.ask("PUT", "/v1/credentials/acme", CREDENTIAL | {"auth": auth, "headers": {"X-Key": "***"}})

    assert (answer.status, answer.json["auth"]["username"]) == (200, "AC9")
    assert stored_credential(acme).auth.password.get_secret_value() == "the-auth-token"
    assert stored_credential(acme).headers == {"X-Key": "in-a-header"}


def test_what_a_get_shows_can_be_put_back_and_changes_nothing(acme: Served) -> None:
    before = stored_credential(acme), stored_webhook(acme)
    shown = acme.ask("GET", "/v1/webhooks/acme-inbound").json
    shown.pop("url")

    statuses = [
        acme.ask("PUT", "/v1/credentials/acme", acme.ask("GET", "/v1/credentials/acme").json).status,
        acme.ask("PUT", "/v1/webhooks/acme-inbound", shown).status,
    ]

    assert statuses == [200, 200]
    assert (stored_credential(acme), stored_webhook(acme)) == before


def test_a_put_replaces_all_that_is_no_secret(acme: Served) -> None:
    acme.ask("PUT", "/v1/webhooks/acme-inbound", {"provider": "twilio", "type": "feedback"})

    webhook = stored_webhook(acme)
    assert (webhook.type, webhook.credential, webhook.sender) == ("feedback", None, None)
    assert webhook.secrets == (b"the-signing-secret",)


def test_a_secret_is_rotated_by_putting_the_new_one_beside_the_starred(acme: Served) -> None:
    first = acme.ask("PUT", "/v1/webhooks/acme-inbound", WEBHOOK | {"secret": ["the-signing-secret", "the-next"]})
    second = acme.ask("PUT", "/v1/webhooks/acme-inbound", WEBHOOK | {"secret": ["***", "***"]})

    assert (first.status, second.status, second.json["secret"]) == (200, 200, ["***", "***"])
    assert stored_webhook(acme).secrets == (b"the-signing-secret", b"the-next")


def test_null_removes_a_secret(acme: Served) -> None:
    acme.ask("PUT", "/v1/webhooks/acme-inbound", WEBHOOK | {"secret": None})

    assert stored_webhook(acme).secrets == ()


def test_stars_that_stand_for_nothing_are_not_taken_for_a_secret(acme: Served) -> None:
    bearer = {"type": "bearer", "token": "***"}

    created = acme.ask("POST", "/v1/credentials", CREDENTIAL | {"name": "other", "auth": bearer})
    changed = acme.ask("PUT", "/v1/credentials/acme", CREDENTIAL | {"auth": bearer})

    assert (created.status, changed.status) == (422, 422)
    assert "auth.token" in changed.json["detail"]


def test_a_name_is_taken_once(acme: Served) -> None:
    statuses = [
        acme.ask("POST", "/v1/credentials", CREDENTIAL).status,
        acme.ask("POST", "/v1/webhooks", WEBHOOK).status,
    ]

    assert statuses == [409, 409]


@pytest.mark.parametrize("kind", ["credentials", "webhooks", "replies"])
def test_what_is_not_there_cannot_be_read_changed_or_deleted(served: Served, kind: str) -> None:
    body = {"credentials": CREDENTIAL, "webhooks": WEBHOOK, "replies": {"text": "Hi"}}[kind] | {"name": "nobody"}

    statuses = [
        served.ask("GET", f"/v1/{kind}/nobody").status,
        served.ask("PUT", f"/v1/{kind}/nobody", body).status,
        served.ask("DELETE", f"/v1/{kind}/nobody").status,
    ]

    assert statuses == [404, 404, 404]


def test_nothing_is_renamed_by_a_put(acme: Served) -> None:
    answer = acme.ask("PUT", "/v1/credentials/acme", CREDENTIAL | {"name": "other"})

    assert (answer.status, "renamed" in answer.json["detail"]) == (422, True)


def test_a_credential_in_use_is_not_deleted(acme: Served) -> None:
    kept = acme.ask("DELETE", "/v1/credentials/acme")
    acme.ask("DELETE", "/v1/webhooks/acme-inbound")
    gone = acme.ask("DELETE", "/v1/credentials/acme")

    assert (kept.status, "acme-inbound" in kept.json["detail"]) == (409, True)
    assert (gone.status, gone.body) == (204, b"")
    assert acme.ask("GET", "/v1/credentials").json == {"items": [], "next": None}


def test_a_webhook_is_not_deleted_while_a_credential_has_receipts_sent_to_it(acme: Served) -> None:
    acme.ask("PUT", "/v1/webhooks/acme-inbound", WEBHOOK | {"type": "both"})
    reporting = acme.ask("PUT", "/v1/credentials/acme", CREDENTIAL | {"feedback": "acme-inbound"})

    kept = acme.ask("DELETE", "/v1/webhooks/acme-inbound")
    acme.ask("PUT", "/v1/credentials/acme", CREDENTIAL)
    gone = acme.ask("DELETE", "/v1/webhooks/acme-inbound")

    assert (reporting.status, kept.status, gone.status) == (200, 409, 204)
    assert kept.json["detail"] == ("Webhook 'acme-inbound' is used by credential 'acme'; change or delete it first.")


def test_a_deleted_webhook_hears_no_more(acme: Served) -> None:
    url = acme.ask("GET", "/v1/webhooks/acme-inbound").json["url"]

    acme.ask("DELETE", "/v1/webhooks/acme-inbound")

    assert acme.ask("POST", url.removeprefix(acme.url), b"", token=None).status == 404


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"provider": "nobody"}, "nobody", id="no such provider"),
        pytest.param({"credential": "nobody"}, "nobody", id="no such credential"),
        pytest.param({"region": "Mars"}, "region", id="no such region"),
        pytest.param({"keywords": {"help": {"keywords": ["STOP"]}}}, "STOP", id="a keyword of two categories"),
        pytest.param({"keywords": {"default": {"reply": "@nobody"}}}, "nobody", id="no such text"),
        pytest.param({"keyword": {}}, "keyword", id="a misspelt name"),
    ],
)
def test_a_webhook_that_could_not_hear_is_refused_in_a_sentence(
    acme: Served, change: dict[str, Any], told: str
) -> None:
    answer = acme.ask("PUT", "/v1/webhooks/acme-inbound", WEBHOOK | change)

    assert (answer.status, told in answer.json["detail"]) == (422, True)
    assert "the-signing-secret" not in answer.body.decode()


def test_a_malformed_secret_is_not_repeated_in_the_refusal(served: Served) -> None:
    wrong = CREDENTIAL | {"auth": {"type": "basic", "username": "AC0123", "password": ["the-auth-token"]}}

    answer = served.ask("POST", "/v1/credentials", wrong)

    assert answer.status == 422
    assert "the-auth-token" not in answer.body.decode()


UNKNOWN = "{{profil.name}} stands for nothing in the text of a reply"


@pytest.mark.parametrize(
    ("text", "told"),
    [("Hi {{profil.name}}!", UNKNOWN), ("Hi {{profile.name!", "never closed with }}: {{profile.name!")],
)
def test_a_text_with_a_place_that_could_never_be_filled_is_refused(acme: Served, text: str, told: str) -> None:
    rich = {"text": "Hi!", "fallback": text}

    answers = [
        acme.ask("POST", "/v1/replies", {"name": "hi", "text": text}),
        acme.ask("POST", "/v1/replies", {"name": "hi", **rich}),
        acme.ask("PUT", "/v1/webhooks/acme-inbound", WEBHOOK | {"keywords": {"help": {"reply": text}}}),
        acme.ask("PUT", "/v1/webhooks/acme-inbound", WEBHOOK | {"keywords": {"default": {"reply": rich}}}),
        acme.ask(
            "PUT",
            "/v1/webhooks/acme-inbound",
            WEBHOOK | {"keywords": {"custom": [{"keywords": ["BLUE"], "reply": text}]}},
        ),
    ]

    assert [answer.status for answer in answers] == [422] * 5
    assert [told in answer.json["detail"] for answer in answers] == [True] * 5
    assert {answer.json["detail"].partition(":")[0] for answer in answers} == {"reply 'hi'", "webhook 'acme-inbound'"}


def test_a_named_text_is_used_by_webhooks_and_kept_while_it_is(acme: Served) -> None:
    created = acme.ask("POST", "/v1/replies", {"name": "thanks", "text": "Thanks!"})
    acme.ask("PUT", "/v1/webhooks/acme-inbound", WEBHOOK | {"keywords": {"default": {"reply": "@thanks"}}})
    acme.ask("PUT", "/v1/replies/thanks", {"text": "Thank you!"})

    explained = acme.ask("POST", "/v1/explain", {"text": "hello", "webhook": "acme-inbound"}).json

    assert (created.status, created.json) == (201, {"name": "thanks", "text": "Thanks!"})
    assert (explained["category"], explained["reply"]) == ("default", "Thank you!")
    assert acme.ask("DELETE", "/v1/replies/thanks").status == 409
    assert acme.ask("GET", "/v1/replies").json["items"] == [{"name": "thanks", "text": "Thank you!"}]


def test_explain_tells_what_a_stop_would_do_and_writes_nothing(acme: Served) -> None:
    question = {"text": "Stop.", "webhook": "acme-inbound", "address": "+14155550101"}

    answer = acme.ask("POST", "/v1/explain", question)

    found = answer.json
    assert answer.status == 200
    assert (found["category"], found["keyword"], found["new_state"]) == ("opt_out", "STOP", "opted_out")
    assert acme.ask("GET", "/v1/consent/+14155550101").json["state"] == "unknown"
    assert acme.ask("POST", "/v1/explain", {"text": "STOP", "webhook": "nobody"}).status == 404


def test_the_provider_files_are_listed(served: Served) -> None:
    found = served.ask("GET", "/v1/providers").json["items"]

    assert {provider["slug"] for provider in found} == set(served.parts.providers)
    assert set(found[0]) == {"slug", "name", "page", "notes", "sends"}


# --- tokens -------------------------------------------------------------------------------------------------------


def test_a_token_opens_what_its_scopes_say_until_it_is_revoked(served: Served) -> None:
    made = served.ask("POST", "/v1/tokens", {"name": "prometheus", "scopes": ["metrics"]})
    token = made.json["token"]

    before = [served.ask("GET", path, token=token).status for path in ("/metrics", "/v1/webhooks")]
    revoked = served.ask("DELETE", "/v1/tokens/prometheus")
    after = served.ask("GET", "/metrics", token=token).status

    assert (made.status, before, revoked.status, after) == (201, [200, 403], 204, 401)
    listed = served.ask("GET", "/v1/tokens").json["items"]
    assert [(entry["name"], entry["scopes"], "token" in entry) for entry in listed] == [
        ("prometheus", ["metrics"], False)
    ]


def test_an_admin_token_has_every_scope_and_a_token_name_serves_once(served: Served) -> None:
    token = served.ask("POST", "/v1/tokens", {"name": "boss", "scopes": ["admin"]}).json["token"]

    statuses = [
        served.ask("GET", "/v1/consent/+14155550100", token=token).status,
        served.ask("GET", "/metrics", token=token).status,
        served.ask("POST", "/v1/tokens", {"name": "boss", "scopes": ["metrics"]}, token=token).status,
        served.ask("POST", "/v1/tokens", {"name": "lord", "scopes": ["everything"]}, token=token).status,
    ]

    assert statuses == [200, 200, 409, 422]
