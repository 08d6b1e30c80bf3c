"""What operators register: kept encrypted, changed as one, watched by its version."""

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
import structlog

from app.credential import ApiKeyAuth, BasicAuth, Credential
from app.errors import BadInput
from app.events import Category
from app.record import registry, tables, tokens
from app.record.database import Database
from app.record.vault import Vault
from app.reply import Reply, Suggestion
from app.serve import apply, apply_file
from app.serve.takeover import take_over
from app.webhook import CustomKeywords, KeywordList, Keywords, Webhook
from tests.serving import serving

NOW = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
OLD_KEY, NEW_KEY = "old" * 12, "new" * 12
VAULT = Vault(OLD_KEY)

ACME = Credential(
    name="acme",
    provider="twilio",
    app_id="AC0123",
    auth=BasicAuth(username="AC0123", password="the-auth-token"),
)
CREDENTIAL = {
    "name": "acme",
    "provider": "twilio",
    "app_id": "AC0123",
    "auth": {"type": "basic", "username": "AC0123", "password": "the-auth-token"},
}
CUSTOM = Credential(
    name="house",
    provider="custom",
    url="https://sms.example.com/send?password=in-the-url",
    auth=ApiKeyAuth(name="X-Key", token="the-api-key"),
    headers={"X.Pass": "in-a-header"},
    payload='{"to":"{{toNumber}}","password":"in-the-payload"}',
    message_id="messages.0.id",
)
INBOUND = Webhook(
    name="acme-inbound",
    provider="twilio",
    credential="acme",
    sender="+14155550199",
    region="US",
    packs=["us"],
    secret=["the-secret", "the-next-secret"],
    provider_answers=[Category.OPT_OUT],
    keywords=Keywords(
        opt_out=KeywordList(keywords=["STOP", "ARRÊT"], reply="Bye."),
        default=KeywordList(reply="@thanks"),
        custom=[CustomKeywords(keywords=["BLUE"], preference={"colour": "blue"})],
    ),
)


def everything(database: Database, vault: Vault = VAULT) -> registry.Registered:
    return database.read_now(lambda conn: registry.load(conn, vault))


def register(database: Database) -> None:
    with database.writers.begin() as conn:
        registry.save_credential(conn, VAULT, ACME, NOW)
        registry.save_credential(conn, VAULT, CUSTOM, NOW)
        registry.save_reply(conn, "thanks", "Thank you!", NOW)
        registry.save_webhook(conn, VAULT, INBOUND, NOW)


def spoil(conn: sa.Connection, table: sa.Table, name: str, **values: str) -> None:
    """Put into a row what textback would not have stored."""
    conn.execute(table.update().where(table.c.name == name).values(**values))


def test_what_was_registered_is_read_back_whole(database: Database) -> None:
    register(database)

    found = everything(database)

    (webhook,) = found.webhooks
    assert found == registry.Registered(
        version=5, credentials={"acme": ACME, "house": CUSTOM}, webhooks=[webhook], replies={"thanks": "Thank you!"}
    )
    assert webhook.webhook == INBOUND
    assert webhook.token_hash == registry.token_hash(webhook.token)
    assert len(webhook.token) == 32  # 24 random bytes


def test_no_secret_stands_readable_in_the_database(database: Database) -> None:
    register(database)

    with database.readers.connect() as conn:
        stored = str([*conn.execute(sa.select(tables.credentials)), *conn.execute(sa.select(tables.webhooks))])

    hidden = ["the-auth-token", "the-api-key", "in-the-url", "in-a-header", "in-the-payload", "the-secret", "the-next"]
    token = everything(database).webhooks[0].token
    assert [secret for secret in [*hidden, token] if secret in stored] == []
    assert "AC0123" in stored  # what is no secret can be read


def test_saving_what_is_there_changes_nothing_and_a_change_keeps_the_url(database: Database) -> None:
    register(database)
    before = everything(database)
    changed = INBOUND.model_copy(update={"program": "news"})

    with database.writers.begin() as conn:
        again = registry.save_webhook(conn, VAULT, INBOUND, LATER)
        credential_again = registry.save_credential(conn, VAULT, CUSTOM, LATER)
        reply_again = registry.save_reply(conn, "thanks", "Thank you!", LATER)
    unchanged = everything(database)
    with database.writers.begin() as conn:
        outcome = registry.save_webhook(conn, VAULT, changed, LATER)
    after = everything(database)

    assert (again, credential_again, reply_again) == ("unchanged", "unchanged", "unchanged")
    assert unchanged == before
    assert outcome == "changed"
    assert after == before._replace(version=6, webhooks=[before.webhooks[0]._replace(webhook=changed)])


def test_a_rich_reply_is_kept_whole_in_place_and_by_its_name(database: Database) -> None:
    more = Reply(text="More?", suggestions=[Suggestion(text="YES")], fallback="More? Reply YES")
    asking = INBOUND.model_copy(update={"keywords": Keywords(help=KeywordList(reply=more))})
    register(database)

    with database.writers.begin() as conn:
        outcomes = [
            registry.save_reply(conn, "thanks", more, LATER),
            registry.save_reply(conn, "thanks", more, LATER),
            registry.save_webhook(conn, VAULT, asking, LATER),
            registry.save_webhook(conn, VAULT, asking, LATER),
        ]
    rich = everything(database)
    plain = database.write_now(lambda conn: registry.save_reply(conn, "thanks", "More?", LATER))

    assert outcomes == ["changed", "unchanged", "changed", "unchanged"]
    assert (rich.replies, rich.webhooks[0].webhook) == ({"thanks": more}, asking)
    assert (plain, everything(database).replies) == ("changed", {"thanks": "More?"})


def test_a_rich_reply_is_given_by_api_and_by_file_and_shown_as_it_was_given(database_url: str) -> None:
    rich = {"text": "More?", "suggestions": [{"text": "YES"}, {"text": "Call", "phone": "+14155550100"}]}
    with serving(database_url) as served:
        created = served.ask("POST", "/v1/replies", {"name": "more", **rich})
        changed = served.ask("PUT", "/v1/replies/more", {"text": "More?", "fallback": "More? Reply YES"})
        refused = served.ask("POST", "/v1/replies", {"name": "x", "text": "Hi", "suggestions": [{"text": ""}]})
        by_file = served.write(
            lambda conn: apply.apply(
                conn, served.parts.vault, served.parts.catalogue, apply_file.parse({"replies": {"file": rich}}), NOW
            )
        )
        shown = served.ask("GET", "/v1/replies").json["items"]

    assert (created.status, created.json) == (201, {"name": "more", **rich})
    assert changed.json == {"name": "more", "text": "More?", "fallback": "More? Reply YES"}
    assert refused.status == 422
    assert by_file.replies == {"file": "created"}
    assert shown == [{"name": "file", **rich}, changed.json]


@pytest.mark.parametrize(
    ("reply", "sentence"),
    [
        ("", "replies.more: should not be empty"),
        (
            {"text": "Hi", "suggestions": [{"text": "x" * 26}]},
            "replies.more.suggestions.0.text: String should have at most 25 characters",
        ),
        (7, "replies.more: is neither a text nor a table with a text"),
    ],
)
def test_a_reply_of_a_file_that_cannot_be_is_told_in_one_sentence(reply: object, sentence: str) -> None:
    with pytest.raises(BadInput) as refused:
        apply_file.parse({"replies": {"more": reply}})

    assert str(refused.value) == sentence


def test_a_new_secret_alone_is_a_change(database: Database) -> None:
    register(database)
    rotated = ACME.model_copy(update={"auth": BasicAuth(username="AC0123", password="another")})

    with database.writers.begin() as conn:
        outcome = registry.save_credential(conn, VAULT, rotated, LATER)

    assert outcome == "changed"
    assert everything(database).credentials["acme"] == rotated


def test_a_change_that_is_rolled_back_leaves_the_version(database: Database) -> None:
    register(database)
    before = everything(database)

    with database.writers.connect() as conn:
        registry.save_reply(conn, "thanks", "other", LATER)
        conn.rollback()

    assert everything(database) == before


def test_what_a_webhook_uses_cannot_be_deleted(database: Database) -> None:
    register(database)

    with pytest.raises(
        BadInput, match="Credential 'acme' is used by webhook 'acme-inbound'; change or delete it first"
    ):
        database.write_now(lambda conn: registry.delete_credential(conn, "acme"))
    with pytest.raises(BadInput, match="Reply 'thanks' is used by webhook 'acme-inbound'"):
        database.write_now(lambda conn: registry.delete_reply(conn, "thanks"))

    assert everything(database).version == 5


def test_what_nobody_uses_is_deleted_and_a_second_deletion_is_no_change(database: Database) -> None:
    register(database)

    with database.writers.begin() as conn:
        first = [
            registry.delete_webhook(conn, "acme-inbound"),
            registry.delete_credential(conn, "acme"),
            registry.delete_credential(conn, "house"),
            registry.delete_reply(conn, "thanks"),
        ]
        second = [registry.delete_webhook(conn, "acme-inbound"), registry.delete_credential(conn, "acme")]

    assert (first, second) == ([True] * 4, [False] * 2)
    assert everything(database) == registry.Registered(9, {}, [], {})


def test_one_is_read_by_its_name(database: Database) -> None:
    register(database)

    with database.readers.connect() as conn:
        credential = registry.read_credential(conn, VAULT, "acme")
        webhook = registry.read_webhook(conn, VAULT, "acme-inbound")
        neither = registry.read_credential(conn, VAULT, "no"), registry.read_webhook(conn, VAULT, "no")

    assert credential == ACME
    assert webhook == everything(database).webhooks[0]
    assert neither == (None, None)


def test_a_wrong_key_is_told_with_its_mend_and_a_rotated_key_reads_on(database: Database) -> None:
    register(database)

    with pytest.raises(BadInput, match="Set the key it was stored with"):
        everything(database, Vault(NEW_KEY))

    assert everything(database, Vault(f"{NEW_KEY}, {OLD_KEY}")) == everything(database)


def test_the_first_key_encrypts() -> None:
    sealed = Vault(f"{NEW_KEY},{OLD_KEY}").encrypt("secret")

    assert Vault(NEW_KEY).decrypt(sealed) == "secret"
    with pytest.raises(BadInput, match="cannot be decrypted"):
        Vault(OLD_KEY).decrypt(sealed)


def test_no_key_is_refused() -> None:
    with pytest.raises(BadInput, match="TEXTBACK_SECRET_KEY is not set; make one with: openssl rand -hex 32"):
        Vault(" , ")


def test_a_row_of_another_version_is_named_and_can_be_applied_again(database: Database) -> None:
    register(database)
    before = everything(database)
    row = {"settings": '{"name": "acme-inbound"}', "secrets": VAULT.encrypt("[]")}
    database.write_now(lambda conn: spoil(conn, tables.webhooks, "acme-inbound", **row))

    spoilt = everything(database)
    with pytest.raises(BadInput, match=r"The stored webhook 'acme-inbound' cannot be used \(provider\)"):
        database.read_now(lambda conn: registry.read_webhook(conn, VAULT, "acme-inbound"))
    outcome = database.write_now(lambda conn: registry.save_webhook(conn, VAULT, INBOUND, LATER))

    reason = "The stored webhook 'acme-inbound' cannot be used (provider); apply it again."
    broken = {before.webhooks[0].token_hash: ("acme-inbound", reason)}
    assert spoilt == before._replace(webhooks=[], broken=broken)
    assert outcome == "changed"
    assert everything(database) == before._replace(version=6)


@pytest.mark.parametrize(
    ("sealed", "reason"),
    [
        ("no token of ours", "credential 'acme': A stored secret cannot be decrypted with TEXTBACK_SECRET_KEY."),
        (Vault(NEW_KEY).encrypt("[]"), "credential 'acme': A stored secret cannot be decrypted"),
        (VAULT.encrypt("{"), "The stored credential 'acme' cannot be used (its secrets do not fit its settings)"),
        (VAULT.encrypt('[[["auth", "no", "where"], "x"]]'), "The stored credential 'acme' cannot be used (its secrets"),
        (VAULT.encrypt("[7]"), "The stored credential 'acme' cannot be used (its secrets do not fit its settings)"),
    ],
    ids=["not sealed", "another key", "no JSON", "no such place", "no path"],
)
def test_one_unusable_credential_leaves_the_others_in_use(database: Database, sealed: str, reason: str) -> None:
    register(database)
    before = everything(database)
    database.write_now(lambda conn: spoil(conn, tables.credentials, "acme", secrets=sealed))

    after = everything(database)

    assert after.broken_credentials.keys() == {"acme"}
    assert after.broken_credentials["acme"].startswith(reason)
    assert after._replace(broken_credentials={}) == before._replace(credentials={"house": CUSTOM})


def test_a_webhook_that_cannot_be_decrypted_answers_503_and_its_neighbours_hear_on(database_url: str) -> None:
    payload = '{"from":"{{profileNumber}}","to":"{{inboundNumber}}","text":"{{inboundMessage}}"}'
    plain = {"provider": "custom", "scheme": {"type": "token"}, "payload": payload}
    message = {"from": "+14155550101", "to": "+14155550199", "text": "STOP"}
    with serving(database_url) as served:
        made = [served.ask("POST", "/v1/webhooks", {**plain, "name": name}).json for name in ("one", "two")]
        credential = served.ask("POST", "/v1/credentials", CREDENTIAL)
        served.write(lambda conn: spoil(conn, tables.webhooks, "one", secrets="spoilt"))
        served.write(lambda conn: spoil(conn, tables.credentials, "acme", secrets="spoilt"))

        with structlog.testing.capture_logs() as logs:
            served.run(take_over(served.parts))
        paths = ["/in/" + entry["url"].rpartition("/")[2] for entry in made]
        statuses = [served.ask("POST", path, message, token=None).status for path in paths]
        broken = served.parts.switchboard.broken

    assert credential.status == 201
    assert statuses == [503, 200]
    assert broken.keys() == {"one"}
    assert broken["one"].startswith("webhook 'one': A stored secret cannot be decrypted with TEXTBACK_SECRET_KEY.")
    # told once or twice: the server may have heard of the change by itself meanwhile
    assert {(log.get("webhook"), log.get("credential"), log["reason"][:24]) for log in logs if "reason" in log} == {
        ("one", None, "webhook 'one': A stored "),
        (None, "acme", "credential 'acme': A sto"),
    }


def test_a_list_version_is_kept_as_it_was_first_used(database: Database) -> None:
    with database.writers.begin() as conn:
        registry.keep_list_version(conn, "v1", "acme-inbound", '{"opt_out":["STOP"]}', NOW)
        registry.keep_list_version(conn, "v1", "other", "{}", LATER)

    with database.readers.connect() as conn:
        rows = [tuple(row) for row in conn.execute(sa.select(tables.keyword_lists))]

    assert rows == [("v1", "acme-inbound", '{"opt_out":["STOP"]}', NOW)]


def test_a_token_opens_its_scopes_until_it_is_revoked(database: Database) -> None:
    token = database.write_now(lambda conn: tokens.create(conn, "crm", ["metrics", "consent:read"], NOW))

    with database.writers.begin() as conn:
        found, unknown = tokens.find(conn, token), tokens.find(conn, "tb_guessed")
        revoked = [
            tokens.revoke(conn, "crm", LATER),
            tokens.revoke(conn, "crm", LATER),
            tokens.revoke(conn, "no", LATER),
        ]
        after = tokens.find(conn, token)
        listed = tokens.listed(conn)
        stored = str([*conn.execute(sa.select(tables.api_tokens))])

    entry = tokens.TokenEntry("crm", (tokens.Scope.CONSENT_READ, tokens.Scope.METRICS), NOW, None)
    assert token.startswith("tb_")
    assert token not in stored
    assert (found, unknown, after) == (entry, None, None)
    assert revoked == [True, False, False]
    assert listed == [entry._replace(revoked_at=LATER)]


@pytest.mark.parametrize(
    ("name", "scopes", "sentence"),
    [
        ("crm", ["admin"], "There is a token named 'crm'"),
        (
            "new",
            ["root", "admin"],
            "'root' is no scope; choose from: consent:read, consent:write, metrics, document, lookup, admin",
        ),
        ("new", [], "nothing is no scope"),
        (" ", ["admin"], "needs a name"),
    ],
)
def test_a_token_that_cannot_be_made(database: Database, name: str, scopes: list[str], sentence: str) -> None:
    database.write_now(lambda conn: tokens.create(conn, "crm", ["admin"], NOW))

    with pytest.raises(BadInput, match=sentence):
        database.write_now(lambda conn: tokens.create(conn, name, scopes, NOW))
