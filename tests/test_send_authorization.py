"""How requests are proved at the moment of sending: signatures with a shared secret, and tokens of our own."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from app.credential import Auth, Claims, Credential, JwtAuth, MacAuth, MacRecipe, OAuthAuth
from app.errors import BadInput, SendFailed
from app.provider import Provider, load_provider
from app.send import Courier, Message, courier
from app.send.authorizer import TokenHeader
from app.send.mac import MacSigner
from app.send.own_token import SETTLING, OwnTokens
from app.send.render import Outgoing
from app.settings import CONFIG_DIR
from tests.certificates import private_pem

URL = "https://api.example.com/send"
MESSAGE = Message("+14155550199", "+14155550100", "Hi", "4711")
SECRET = SecretStr("a-secret-of-thirty-two-characters")


def carrier(auth: Auth, **given: Any) -> Courier:
    usual = {"name": "acme", "provider": "custom", "url": URL, "payload": '{"text":"{{message}}"}'}
    return courier(Credential(**{**usual, "auth": auth, **given}), None)


def proved(by: Courier, message: Message = MESSAGE) -> Outgoing:
    assert by.authorizer is not None
    return asyncio.run(by.authorizer.prove(by.compose(message)))


# --- signed requests ----------------------------------------------------------------------------------------------


def test_the_usual_recipe_signs_as_the_drafts_own_example_does() -> None:
    # https://datatracker.ietf.org/doc/html/draft-ietf-oauth-v2-http-mac-01#section-1.1
    auth = MacAuth(token="h480djs93hd8", secret=SecretStr("489dks293j39"))
    signer = MacSigner(
        auth,
        MacRecipe(hash="sha1"),
        now=lambda: datetime.fromtimestamp(1336363200, UTC),
        nonce=lambda: "dj83hs9s",
    )

    found = asyncio.run(signer.prove(Outgoing("GET", "http://example.com/resource/1?b=1&a=2", {}, b"")))

    assert found.headers == {
        "Authorization": 'MAC id="h480djs93hd8", ts="1336363200", nonce="dj83hs9s", mac="6T3zZzy2Emppni6bzL7kdRxUWL4="'
    }


def test_azures_recipe_signs_as_its_page_says() -> None:
    # https://learn.microsoft.com/en-us/azure/communication-services/tutorials/hmac-header-tutorial
    recipe = load_provider(CONFIG_DIR / "providers" / "azure.toml").send["sms"].mac
    assert recipe is not None
    key = bytes(range(64))
    auth = MacAuth(secret=SecretStr(base64.b64encode(key).decode()))
    body = '{"from":"+14155550199","message":"Grüezi"}'.encode()
    signer = MacSigner(auth, recipe, now=lambda: datetime(2026, 11, 2, 9, 5, 7, tzinfo=UTC))
    request = Outgoing("POST", "https://acme.communication.azure.com/sms?api-version=2021-03-07", {"A": "b"}, body)

    found = asyncio.run(signer.prove(request))

    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    signed = f"POST\n/sms?api-version=2021-03-07\nMon, 02 Nov 2026 09:05:07 GMT;acme.communication.azure.com;{digest}"
    signature = base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
    assert found == request._replace(
        headers={
            "A": "b",
            "x-ms-date": "Mon, 02 Nov 2026 09:05:07 GMT",
            "x-ms-content-sha256": digest,
            "Authorization": f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}",
        }
    )


def test_every_place_of_a_recipe_is_filled_and_a_doubled_brace_stands_for_one() -> None:
    recipe = MacRecipe(
        signed="{body}",
        hash="sha512",
        encoding="hex",
        key="hex",
        headers={
            "X-Request": "{method} {url} {host} {port} {target}",
            "X-Digests": "{body_sha256} {body_md5}",
            "X-Moment": "{timestamp} {iso_time} {nonce}",
            "X-Proof": "{{{token}}} {signature}",
            "X-Literal": "as it is",
        },
    )
    auth = MacAuth(token="id", secret=SecretStr("00ff"))
    signer = MacSigner(auth, recipe, now=lambda: datetime(2026, 11, 22, 12, tzinfo=UTC), nonce=lambda: "n0")
    body = b"no \xff UTF-8"

    found = asyncio.run(signer.prove(Outgoing("PUT", "https://API.example.com:8443/a%20b?c=d", {}, body)))

    assert found.headers == {
        "X-Request": "PUT https://API.example.com:8443/a%20b?c=d api.example.com 8443 /a%20b?c=d",
        "X-Digests": f"{hashlib.sha256(body).hexdigest()} 0517a3a0246a42ad4f3e89933f4fba69",  # md5sum's
        "X-Moment": "1795348800 2026-11-22T12:00:00Z n0",
        "X-Proof": f"{{id}} {hmac.new(bytes([0, 255]), body, hashlib.sha512).hexdigest()}",
        "X-Literal": "as it is",
    }


def test_each_try_is_signed_anew() -> None:
    by = carrier(MacAuth(token="id", secret=SECRET))

    first, second = proved(by), proved(by)

    assert first.headers["Authorization"] != second.headers["Authorization"]


def test_the_providers_recipe_holds_unless_the_credential_has_its_own() -> None:
    rules = {"url": URL, "form": {"to": "{{toNumber}}"}, "mac": {"headers": {"X-Mac": "{signature}"}}}
    file = Provider(slug="acme", name="Acme", page="https://example.com", send={"sms": rules})
    own = MacRecipe(headers={"X-Own": "{signature}"})

    def added(recipe: MacRecipe | None) -> set[str]:
        auth = MacAuth(secret=SECRET, recipe=recipe)
        found = proved(courier(Credential(name="acme", provider="acme", auth=auth), file))
        return set(found.headers) - {"Content-Type", "Charset"}

    assert (added(None), added(own)) == ({"X-Mac"}, {"X-Own"})


def test_a_header_of_the_proof_takes_the_place_of_another_in_any_case() -> None:
    recipe = MacRecipe(headers={"content-type": "application/signed", "X-Mac": "{signature}"})

    found = proved(carrier(MacAuth(secret=SECRET, recipe=recipe)))

    assert [name for name in found.headers if name.lower() == "content-type"] == ["content-type"]


def test_a_url_that_is_none_is_not_signed() -> None:
    signer = MacSigner(MacAuth(token="id", secret=SECRET), MacRecipe())

    with pytest.raises(SendFailed) as caught:
        asyncio.run(signer.prove(Outgoing("POST", "https://a.example.com/\n", {}, b"")))

    assert (caught.value.permanent, caught.value.departed) == (True, False)


# --- tokens of our own --------------------------------------------------------------------------------------------


def rsa_pem() -> tuple[str, Any]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode(), key.public_key()


def ec_pem() -> tuple[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    return private_pem(key), key.public_key()


def shared() -> tuple[str, Any]:
    return SECRET.get_secret_value(), SECRET.get_secret_value()


@pytest.mark.parametrize(
    ("algorithm", "keys"),
    [("HS256", shared), ("RS256", rsa_pem), ("ES256", ec_pem)],
    ids=["shared secret", "RSA", "elliptic curve"],
)
def test_a_token_of_ours_is_verified_with_the_providers_half_of_the_key(
    algorithm: str, keys: Callable[[], tuple[str, Any]]
) -> None:
    private, public = keys()
    given = {"iss": "textback", "aud": "acme", "scope": ["sms"]}
    auth = JwtAuth(claims=given, key=SecretStr(private), algorithm=algorithm, key_id="k1", lifetime=600)

    kind, token = proved(carrier(auth)).headers["Authorization"].split(" ")

    found = jwt.decode(token, public, [algorithm], audience="acme", options={"require": ["iat", "exp", "jti"]})
    assert kind == "Bearer"
    assert {name: found[name] for name in given} == given
    assert found["exp"] - found["iat"] == 600
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": "k1", "typ": "JWT"}


def test_what_the_claims_say_wins() -> None:
    claims = {"iss": "textback", "iat": 1, "exp": 4_000_000_000, "jti": "once"}

    found = proved(carrier(JwtAuth(claims=claims, key=SECRET, header="X-Jwt", prefix="")))

    assert jwt.decode(found.headers["X-Jwt"], SECRET.get_secret_value(), ["HS256"]) == claims
    assert jwt.get_unverified_header(found.headers["X-Jwt"]) == {"alg": "HS256", "typ": "JWT"}


@pytest.mark.parametrize(
    ("moments", "different"),
    [
        pytest.param([0, 0, 79], 1, id="kept while it is good"),
        pytest.param([0, 79, 80, 81], 2, id="made anew before it ends"),
        pytest.param([0, -1], 2, id="made anew where the clock was put back"),
    ],
)
def test_a_token_is_kept_for_most_of_its_life(moments: list[int], different: int) -> None:
    async def story() -> set[str]:
        at = 0.0
        tokens, found = OwnTokens(Claims(key=SECRET, lifetime=100), clock=lambda: at), set()
        for moment in moments:
            at = 1_000_000.0 + moment
            found.add(await tokens.get())
        return found

    assert len(asyncio.run(story())) == different


def test_a_refused_token_is_not_shown_again() -> None:
    async def story() -> tuple[bool, bool]:
        nonlocal at
        by = TokenHeader(JwtAuth(key=SECRET), OwnTokens(Claims(key=SECRET), clock=lambda: at))
        request = Outgoing("POST", URL, {}, b"")
        first, again = await by.prove(request), await by.prove(request)
        at += SETTLING
        another_may_do = by.refused(first)
        return first == again and another_may_do, await by.prove(request) != first

    at = 1000.0
    assert asyncio.run(story()) == (True, True)


def test_a_new_token_that_is_refused_is_shown_on_for_a_while_since_a_newer_one_is_no_better() -> None:
    async def story() -> list[tuple[str, bool]]:
        nonlocal at
        tokens = OwnTokens(Claims(key=SECRET), clock=lambda: at)
        first = await tokens.get()
        found = [("another", tokens.forget(first)), ("shown", first == await tokens.get())]
        at += SETTLING
        return [*found, ("shown later", first == await tokens.get()), ("another", tokens.forget(first))]

    at = 1000.0
    assert asyncio.run(story()) == [("another", False), ("shown", True), ("shown later", False), ("another", True)]


# --- what could never be sent -------------------------------------------------------------------------------------


def mac(recipe: dict[str, Any], **given: Any) -> MacAuth:
    return MacAuth(**{"token": "t", "secret": "c2VjcmV0", **given}, recipe=MacRecipe(**recipe))


def own(key: str, algorithm: str, **given: Any) -> JwtAuth:
    return JwtAuth(key=SecretStr(key), algorithm=algorithm, **given)


CLIENT = {"client_secret": SecretStr("s3cret")}
PRIVATE = ec_pem()[0]
PUBLIC = ec_pem()[1].public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
LOCKED = private_pem(ec.generate_private_key(ec.SECP256R1()), b"secret")


@pytest.mark.parametrize(
    ("auth", "reason"),
    [
        pytest.param(mac({"signed": "{day}"}), "{day} is no place of '{day}'; there are {method} ", id="unknown place"),
        pytest.param(mac({"signed": "{signature}"}), "{signature} is no place", id="a signature that signs itself"),
        pytest.param(mac({"headers": {"X-Mac": "{body}"}}), "{body} is no place", id="the body in a header"),
        pytest.param(mac({"signed": "{nonce:>9}"}), "{nonce:>9} is no place", id="a format"),
        pytest.param(mac({"signed": "{nonce!r}"}), "{nonce!r} is no place", id="a conversion"),
        pytest.param(mac({"signed": "{}"}), "{} is no place", id="a place without a name"),
        pytest.param(mac({"signed": "{nonce"}), "lone brace", id="a brace that is never closed"),
        pytest.param(mac({"headers": {"X-Day": "{iso_time}"}}), "no header has {signature}", id="signature unused"),
        pytest.param(mac({"headers": {"X Mac": "{signature}"}}), "'X Mac' is not a header name", id="header name"),
        pytest.param(mac({"headers": {"Host": "{signature}"}}), "Host is a header that only", id="host"),
        pytest.param(mac({}, token=""), "token is empty", id="MAC without token"),
        pytest.param(mac({}, token="ü"), "beyond ASCII", id="MAC token beyond ASCII"),
        pytest.param(mac({}, secret=""), "secret is empty", id="MAC without secret"),
        pytest.param(mac({"key": "base64"}, secret="s3cret!"), "secret is not base64", id="secret not base64"),
        pytest.param(mac({"key": "hex"}, secret="s3cret"), "secret is not hex", id="secret not hex"),
        pytest.param(own("", "HS256"), "key is empty", id="no key"),
        pytest.param(own("s3cret", "RS256"), "RS256 needs a private key", id="a word for a key"),
        pytest.param(own(PUBLIC, "ES256"), "ES256 needs a private key", id="the public half"),
        pytest.param(own(PRIVATE, "RS256"), "RS256 needs a private key", id="a key of another kind"),
        pytest.param(own(PRIVATE, "ES512"), "ES512 needs a private key", id="a key of another curve"),
        pytest.param(own(LOCKED, "ES256"), "without a password", id="a key with a password"),
        pytest.param(own(PRIVATE, "HS256"), "no token can be signed", id="a private key for a secret"),
        pytest.param(own(PRIVATE, "ES256", claims={"a": {1}}), "not JSON serializable", id="claims that are no JSON"),
        pytest.param(own(PRIVATE, "ES256", claims={"iss": 1}), "must be a string", id="an issuer that is no text"),
        pytest.param(own(PRIVATE, "ES256", header="Charset"), "Charset is a header that only", id="token as charset"),
        pytest.param(own(PRIVATE, "ES256", prefix="a\nb"), "prefix has a line break", id="prefix with line break"),
        pytest.param(OAuthAuth(url="login.example.com"), "URL must be like", id="token URL without a scheme"),
        pytest.param(OAuthAuth(url=URL, header="a b"), "'a b' is not a header name", id="header for the token"),
        pytest.param(
            OAuthAuth(url=URL, headers={"A": SecretStr("s3cret\n")}),
            "header A has a line break",
            id="token call header",
        ),
        pytest.param(
            OAuthAuth(url=URL, headers={"Content-Length": SecretStr("1")}),
            "only the HTTP client",
            id="token call length",
        ),
        pytest.param(
            OAuthAuth(url=URL, body={"assertion": SecretStr("{{assertion}}")}), "go together", id="no assertion to sign"
        ),
        pytest.param(
            OAuthAuth(url=URL, body=CLIENT, assertion=Claims(key=SECRET)),
            "go together",
            id="no place for the assertion",
        ),
        pytest.param(
            OAuthAuth(url=URL, body={"a": SecretStr("{{assertion}}")}, assertion=Claims(key=SecretStr(""))),
            "key is empty",
            id="assertion without a key",
        ),
    ],
)
def test_what_could_never_prove_us_is_refused_when_it_is_registered(auth: Auth, reason: str) -> None:
    with pytest.raises(BadInput) as caught:
        carrier(auth)

    assert str(caught.value).startswith("credential acme: auth: ")
    assert reason in str(caught.value)
    assert not any(secret in str(caught.value) for secret in ("s3cret", "c2VjcmV0", "PRIVATE"))


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        pytest.param(MacAuth(token="t", secret=SECRET), "authorization", id="MAC"),
        pytest.param(mac({"headers": {"X-A": "a", "X-Mac": "{signature}"}}), "x-a", id="MAC's second header"),
        pytest.param(JwtAuth(key=SECRET), "AUTHORIZATION", id="own token"),
        pytest.param(OAuthAuth(url=URL, header="X-Token"), "x-token", id="access token"),
    ],
)
def test_a_header_that_auth_sets_is_refused_among_the_credentials_own(auth: Auth, header: str) -> None:
    with pytest.raises(BadInput, match="leave it to auth"):
        carrier(auth, headers={header: "x"})


def test_a_courier_knows_what_it_was_made_of_so_that_it_may_stay() -> None:
    first, same, other = (carrier(JwtAuth(key=SECRET, lifetime=life)) for life in (60, 60, 90))

    assert first.made_of == same.made_of
    assert first.made_of != other.made_of


def test_a_courier_shows_no_secret() -> None:
    by = carrier(MacAuth(token="t", secret=SECRET), headers={"X-Key": "s3cret"})

    assert "s3cret" not in repr(by)
    assert SECRET.get_secret_value() not in repr(by)
