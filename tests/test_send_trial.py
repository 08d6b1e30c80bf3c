"""Trying a credential: what is shown of it has no secret in it, and what is amiss is told with its mend."""

import dataclasses
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec

from app.credential import Credential
from app.errors import BadInput
from app.provider import Provider, load_provider
from app.send import Destinations, Message, Trial, http, try_out
from app.send.trial import ShownAnswer, ShownRequest, TriedCall
from app.settings import CONFIG_DIR
from tests import fake_provider
from tests.certificates import authority, demanding, private_pem
from tests.fake_provider import CUT, DROP, HANG, FakeProvider, Reply, answer, redirect
from tests.test_send_authorization_certificate import TlsDoor

MESSAGE = Message("+14155550199", "+14155550100", "Hi", "4711")
PAYLOAD = '{"to":"{{toNumber}}","text":"{{message}}"}'
SECRET = 's3cret & "more"/+='


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with fake_provider.running() as running:
        yield running


@pytest.fixture
def server() -> Iterator[FakeProvider]:
    """A token server."""
    with fake_provider.running() as running:
        running.judge = lambda _: (
            None if running.plan else answer(200, {"access_token": "T1-the-token", "expires_in": 60})
        )
        yield running


def credential(provider: FakeProvider | None = None, **given: Any) -> Credential:
    usual = {"name": "acme", "provider": "custom", "payload": PAYLOAD, "message_id": "sid"}
    return Credential.model_validate({**usual, **({"url": f"{provider.url}/send"} if provider else {}), **given})


def tried(
    one: Credential,
    file: Provider | None = None,
    *,
    allowed: tuple[str, ...] = ("127.0.0.1",),
    seconds: float = 5,
    resolve: Any = None,
) -> Trial:
    destinations = Destinations(allowed, **({"resolve": resolve} if resolve else {}))
    return uvloop.run(try_out(one, file, MESSAGE, destinations, timeout=seconds))


async def nowhere(_host: str, _port: int) -> list[str]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


async def to_loopback(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


def as_text(trial: Trial) -> str:
    return json.dumps(dataclasses.asdict(trial))


# --- what is shown ------------------------------------------------------------------------------------------------


def test_request_answer_and_id_are_shown(provider: FakeProvider) -> None:
    provider.plan.append(answer(201, {"sid": "SM1", "to": "+14155550100"}, {"Content-Type": "application/json"}))
    one = credential(provider, auth={"type": "basic", "username": "acme", "password": SECRET})

    trial = tried(one)

    call = TriedCall(
        "message",
        ShownRequest(
            "POST",
            f"{provider.url}/send",
            {"Content-Type": "application/json", "Charset": "UTF-8", "Authorization": "Basic ***"},
            '{"to":"+14155550100","text":"Hi"}',
        ),
        ShownAnswer(
            201, {"content-type": "application/json", "content-length": "36"}, '{"sid": "SM1", "to": "+14155550100"}'
        ),
        trial.calls[0].seconds,
        left=True,
    )
    assert trial == Trial(True, "SM1", "sid", trial.seconds, "", "", (call,))
    assert 0 <= trial.calls[0].seconds <= trial.seconds


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"auth": {"type": "bearer", "token": SECRET, "prefix": "App"}}, '"Authorization": "App ***"'),
        ({"auth": {"type": "bearer", "token": SECRET, "prefix": ""}}, '"Authorization": "***"'),
        ({"auth": {"type": "api_key", "name": "X-Key", "token": SECRET}}, '"X-Key": "***"'),
        ({"auth": {"type": "api_key", "name": "k", "token": SECRET, "place": "query"}}, "/send?k=***"),
        ({"auth": {"type": "mac", "token": "id", "secret": SECRET}}, '"Authorization": "***"'),
        ({"headers": {"X-Own": SECRET, "X-Id": "{{messageReference}}"}}, '"X-Own": "***", "X-Id": "***"'),
        ({"url": "https://provider.example/send?user=acme&password=s3cret"}, "user=acme&password=***"),
        ({"payload": '{"api_key":"s3cret","to":"{{toNumber}}"}'}, '{\\"api_key\\":\\"***\\",\\"to\\":\\"+1415'),
        ({"payload": "user=acme&pass=s3cret&to={{toNumber}}", "payload_format": "form"}, "user=acme&pass=***&to=%2B1415"),
        (
            {"payload": '<m><user>acme</user><Password>s3cret</Password><a token="s3cret"/></m>', "payload_format": "xml"},
            '<user>acme</user><Password>***</Password><a token=\\"***\\"/>',
        ),
    ],
    ids=["bearer", "no prefix", "header", "query", "mac", "own headers", "url", "json", "form", "xml"],
)  # fmt: skip
def test_no_secret_is_shown_wherever_it_stands(provider: FakeProvider, given: dict[str, Any], shown: str) -> None:
    if "url" in given:
        given = {**given, "url": given["url"].replace("https://provider.example", provider.url)}
    # what a provider does that tells the caller what it was sent
    provider.judge = lambda got: answer(400, {"you": {**got.headers, "target": got.target, "body": got.body.decode()}})

    trial = tried(credential(provider, **given))

    assert not trial.taken
    assert shown in as_text(trial)
    assert "s3cret" not in as_text(trial)
    assert "s3cret" in str(provider.requests) or "mac" in str(given) or "basic" in str(given)


@pytest.mark.parametrize("form", ["form", "json"])
def test_the_call_for_a_token_is_shown_without_what_it_proves(
    provider: FakeProvider, server: FakeProvider, form: str
) -> None:
    provider.plan.append(answer(200, {"sid": "SM1", "seen": "T1-the-token"}))
    body = {"grant_type": "client_credentials", "client_id": "acme", "client_secret": SECRET, "scope": "sms"}
    auth = {"type": "oauth", "url": f"{server.url}/token", "body": body, "format": form}

    trial = tried(credential(provider, auth=auth))

    asked, sent = trial.calls
    hidden = "grant_type=client_credentials&client_id=***&client_secret=***&scope=sms"
    told = {"grant_type": "client_credentials", "client_id": "***", "client_secret": "***", "scope": "sms"}
    assert (trial.taken, trial.message_id, trial.mend) == (True, "SM1", "")
    assert [asked.purpose, sent.purpose] == ["access token", "message"]
    assert asked.request.body == (hidden if form == "form" else json.dumps(told, separators=(",", ":")))
    assert asked.answer
    assert asked.answer.body == '{"access_token":"***","expires_in":60}'
    assert sent.request.headers["Authorization"] == "Bearer ***"
    assert sent.answer
    assert sent.answer.body == '{"sid": "SM1", "seen": "***"}'
    assert "T1-the-token" not in as_text(trial)


def test_an_answer_is_cut_and_no_half_of_a_secret_is_left_at_its_end(provider: FakeProvider) -> None:
    provider.plan.append(answer(200, b"<p>" + b"x" * 3_990 + b" the-long-api-token and more"))

    trial = tried(credential(provider, auth={"type": "bearer", "token": "the-long-api-token"}))

    shown = trial.calls[0].answer
    assert shown
    assert shown.body == "<p>" + "x" * 3_990 + " *** an"


# --- what to mend -------------------------------------------------------------------------------------------------


def mended(provider: FakeProvider, *plan: Reply, file: Provider | None = None, seconds: float = 5, **given: Any) -> str:
    """The mend of a trial that the plan answers."""
    provider.plan.extend(plan)
    return tried(credential(provider, **given), file, seconds=seconds).mend


BASIC = {"type": "basic", "username": "acme", "password": SECRET}


@pytest.mark.parametrize(
    ("reply", "given", "mend"),
    [
        (answer(401), {}, "The credential has no auth, so nothing proves who calls; give it one"),
        (answer(401), {"auth": BASIC}, "Compare auth's username and password with the provider's console"),
        (answer(403), {}, "The provider knows the caller and forbids this"),
        (answer(404), {}, "There is nothing at this URL: compare its path"),
        (answer(405), {}, "This URL does not take this method"),
        (answer(400, {"error": "bad from"}), {}, "The provider has read the request and cannot use it"),
        (answer(422), {}, "The provider has read the request and cannot use it"),
        (answer(429), {}, "The provider asks for fewer messages"),
        (answer(503), {}, "That is a fault at the provider"),
        (redirect("https://new.example/send?key=s3cret"), {}, "points to another URL (https://new.example/send)"),
        (DROP, {}, "hung up without an answer: look for a slip in url"),
        (CUT, {}, "hung up without an answer"),
        (answer(200, {"id": "SM1"}), {}, "no id was found at 'sid'"),
        (answer(200, {"m": [{"my.id": 7, "ok": True}]}), {}, "Set message_id to its path. The answer has m.0.my\\.id."),
        (answer(200, b"OK 4711"), {}, "The answer is no JSON."),
        (answer(200, {"id": "SM1"}), {"message_id": None}, "message_id is not set, so no id was looked for"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_provider_says_has_its_mend(
    provider: FakeProvider, reply: Reply, given: dict[str, Any], mend: str
) -> None:
    told = mended(provider, reply, **given)

    assert mend in told
    assert "s3cret" not in told


@pytest.mark.parametrize(
    ("given", "mend", "left"),
    [
        ({"seconds": 0.3}, "took the request and did not answer in time, so the message may have left", True),
        (
            {"allowed": ()},
            "is a private address; where that is meant, add it to TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS",
            False,
        ),
        ({"resolve": nowhere}, "The name of the host is not known: look for a slip in url", False),
    ],
    ids=["time-out", "private address", "unknown host"],
)
def test_what_keeps_it_from_being_reached_has_its_mend(
    provider: FakeProvider, *, given: Any, mend: str, left: bool
) -> None:
    provider.plan.append(HANG)
    port = provider.port
    url = f"http://provider.example:{port}/send" if "resolve" in given else f"{provider.url}/send"

    trial = tried(credential(url=url), **given)

    assert mend in trial.mend
    assert (trial.taken, [(call.answer, call.left) for call in trial.calls]) == (False, [(None, left)])


def test_a_port_where_nobody_listens_is_told(provider: FakeProvider) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]

    trial = tried(credential(url=f"http://127.0.0.1:{port}/send"))

    assert trial.mend.startswith(f"127.0.0.1:{port} takes no connection: look at host and port in url")


def test_a_server_that_cannot_prove_who_it_is_is_told(tmp_path: Path) -> None:
    theirs, stranger = authority("The provider's authority"), authority("Somebody else")
    demand = demanding(theirs.issue("provider.example"), theirs, tmp_path)
    with fake_provider.running(tls=demand) as provider:
        url = f"https://provider.example:{provider.port}/send"
        plain = tried(credential(url=url), resolve=to_loopback)
        other = theirs.issue("acme")
        shown = {"certificate": other.certificate, "key": other.key, "authority": stranger.certificate}
        with_own = tried(credential(url=url, client_certificate=shown), resolve=to_loopback)

    assert "could not prove who it is" in plain.mend
    assert "client_certificate.authority" in with_own.mend
    assert other.key not in as_text(with_own)


def test_a_client_certificate_that_is_refused_or_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = authority("Our authority"), authority("The provider's authority")
    door = TlsDoor(demanding(theirs.issue("provider.example"), ours, tmp_path))
    thread = threading.Thread(target=door.refuse, args=(2,))
    thread.start()
    (tmp_path / "trusted.pem").write_text(theirs.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    http._verifying.cache_clear()
    stranger = theirs.issue("acme")
    shown = {"certificate": stranger.certificate, "key": stranger.key}
    url = f"https://provider.example:{door.port}/send"

    refused = tried(credential(url=url, client_certificate=shown), resolve=to_loopback)
    missing = tried(credential(url=url), resolve=to_loopback)

    thread.join(10)
    http._verifying.cache_clear()
    assert "does not accept the client_certificate: register it there" in refused.mend
    assert "wants to see a client certificate: give the credential a client_certificate" in missing.mend
    assert [call.left for trial in (refused, missing) for call in trial.calls] == [False, False]


def test_tls_to_a_port_without_it_is_told() -> None:
    def speak_plainly(door: socket.socket) -> None:
        plain, _ = door.accept()
        with plain:
            plain.recv(4096)
            plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as door:
        speaker = threading.Thread(target=speak_plainly, args=(door,))
        speaker.start()
        trial = tried(credential(url=f"https://127.0.0.1:{door.getsockname()[1]}/send"))
        speaker.join(10)

    assert trial.mend.endswith("speaks no TLS that fits: look at the port in url, and whether it is http.")


@pytest.mark.parametrize(
    ("body", "mend"),
    [
        (
            {"messages": [{"status": "29"}]},
            "'messages.0.status' should be 0 or 1 and is '29'; 'ok' should be there. Its answer says why",
        ),
        ({"ok": True, "error": "x"}, "'messages.0.status' should be 0 or 1 and is absent; 'error' should be absent."),
        ({}, "Whether it was taken, the provider's console tells."),
    ],
    ids=["a code", "no code", "nothing"],
)
def test_what_a_provider_file_calls_accepted_and_is_not_is_told_with_its_path(
    provider: FakeProvider, body: Any, mend: str
) -> None:
    accepted = {"messages.0.status": ["0", "1"], "ok": True, "error": False}
    send = {"url": provider.url, "form": {"to": "{{toNumber}}"}, "id": "messages.0.id", "accepted": accepted}
    file = Provider.model_validate(
        {"slug": "acme", "name": "Acme", "page": "https://docs.example",
         "send": {"sms": {**send, "code": "messages.0.status"}}}
    )  # fmt: skip
    provider.plan.append(answer(200, body))

    trial = tried(Credential(name="acme", provider="acme"), file)

    assert (trial.taken, trial.looked_for) == (False, "messages.0.id")
    assert "The provider answered 200, which is no yes: " in trial.mend
    assert mend in trial.mend


def test_a_text_that_a_provider_file_waits_for_and_that_does_not_come_is_told(provider: FakeProvider) -> None:
    send = {
        "url": provider.url,
        "form": {"to": "{{toNumber}}"},
        "accepted_pattern": "^0: Accepted",
        "id_pattern": "(x)",
    }
    file = Provider.model_validate({"slug": "acme", "name": "Acme", "page": "", "send": {"sms": send}})
    provider.plan.extend([answer(202, b"3: Queued"), answer(202, b"0: Accepted")])

    refused, taken = (tried(Credential(name="acme", provider="acme"), file) for _ in range(2))

    assert "the text should match ^0: Accepted" in refused.mend
    assert (taken.taken, taken.message_id, taken.looked_for) == (True, "", "(x)")
    assert "no id was found at '(x)'" in taken.mend


def test_a_provider_that_names_no_id_needs_no_mend(provider: FakeProvider) -> None:
    send = {"url": provider.url, "form": {"to": "{{toNumber}}"}}
    file = Provider.model_validate({"slug": "acme", "name": "Acme", "page": "", "send": {"sms": send}})
    provider.plan.append(answer(202))

    trial = tried(Credential(name="acme", provider="acme"), file)

    assert (trial.taken, trial.message_id, trial.looked_for, trial.mend) == (True, "", "", "")


def test_a_person_who_has_opted_out_at_the_provider_is_told(provider: FakeProvider) -> None:
    file = load_provider(CONFIG_DIR / "providers" / "twilio.toml")
    provider.plan.append(fake_provider.blocked())
    one = Credential.model_validate(
        {"name": "acme", "provider": "twilio", "app_id": "AC1", "url": f"{provider.url}/send", "auth": BASIC}
    )

    trial = tried(one, file)

    assert trial.mend.startswith("The provider says that this person has opted out with it")


def test_a_call_for_a_token_that_takes_too_long_is_told(provider: FakeProvider, server: FakeProvider) -> None:
    server.plan.append(HANG)
    auth = {"type": "oauth", "url": f"{server.url}/token", "body": {"client_secret": SECRET}}

    trial = tried(credential(provider, auth=auth), seconds=0.4)

    assert trial.problem == "no access token within 0.2 s"
    assert "did not answer in time, and nothing has left" in trial.mend
    assert [(call.purpose, call.answer, call.left) for call in trial.calls] == [("access token", None, True)]


@pytest.mark.parametrize(
    ("reply", "mend"),
    [
        (answer(401, {"error": "invalid_client"}), "compare client_id and client_secret in auth's body"),
        (answer(400, {"error": "invalid_scope"}), "compare scope in auth's body"),
        (answer(404), "compare auth's url with the provider's documentation"),
        (answer(200, {"data": [{"jwt": "the-hidden-token"}]}), "no token at 'access_token'; set auth's token_path"),
        (redirect("https://new.example/token"), "give auth the final url"),
        (DROP, "did not answer"),
    ],
    ids=["client", "scope", "path", "other place", "redirect", "dropped"],
)
def test_a_call_for_a_token_that_fails_has_its_mend(
    provider: FakeProvider, server: FakeProvider, reply: Reply, mend: str
) -> None:
    server.plan.append(reply)
    auth = {"type": "oauth", "url": f"{server.url}/token", "body": {"client_id": "acme", "client_secret": SECRET}}

    trial = tried(credential(provider, auth=auth))

    assert mend in f"{trial.mend} {trial.problem}"
    assert trial.problem.startswith("no access token: ")
    assert [call.purpose for call in trial.calls] == ["access token"]
    assert "the-hidden-token" not in as_text(trial)
    assert provider.requests == []


def test_a_token_that_is_not_good_for_the_message_is_told(provider: FakeProvider, server: FakeProvider) -> None:
    provider.plan.append(answer(401))
    auth = {"type": "oauth", "url": f"{server.url}/token", "body": {"client_secret": SECRET}}

    trial = tried(credential(provider, auth=auth))

    assert "An access token was had and is not good for this URL" in trial.mend
    assert [call.purpose for call in trial.calls] == ["access token", "message"]


def test_a_token_of_our_own_signing_is_hidden(provider: FakeProvider) -> None:
    provider.judge = lambda got: answer(401, {"got": got.headers["authorization"]})
    auth = {
        "type": "jwt",
        "algorithm": "ES256",
        "key": private_pem(ec.generate_private_key(ec.SECP256R1())),
        "claims": {"iss": "acme"},
    }

    trial = tried(credential(provider, auth=auth))

    assert "Compare auth's key, algorithm and claims" in trial.mend
    assert "eyJ" not in as_text(trial)


def test_an_expression_that_fails_is_told_before_anything_leaves(provider: FakeProvider) -> None:
    trial = tried(credential(provider, payload='{"n":"{{$number(message)}}"}'))

    assert (trial.taken, trial.calls) == (False, ())
    assert trial.mend == "No request could be made of the message; mend the credential's payload, or its expression."
    assert provider.requests == []


def test_a_credential_that_could_never_send_is_refused(provider: FakeProvider) -> None:
    with pytest.raises(BadInput, match=r"\{\{nobody\}\} is no placeholder"):
        tried(credential(provider, payload='{"a":"{{nobody}}"}'))
