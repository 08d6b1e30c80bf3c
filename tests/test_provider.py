"""What a provider file's faults are called: a line for each, with its place, for whoever wrote it."""

from pathlib import Path

import pytest

from app.errors import BadInput
from app.provider import load_provider

HEAD = b'name = "Acme"\npage = "-"\n'
EVENT = HEAD + b'[[events]]\nkind = "inbound"\naddress = "from"\ntext = "text"\n[[events]]\n'
SCHEMES = "token, secret, basic, hmac, ed25519, twilio, plivo, jwt, parameter, sns, bearer, client_certificate or any"


def faults_of(folder: Path, file: bytes) -> list[str]:
    path = folder / "acme.toml"
    path.write_bytes(file)
    with pytest.raises(BadInput) as refused:
        load_provider(path)
    lines = str(refused.value).splitlines()
    assert all(line.startswith("acme.toml: ") for line in lines)
    return [line.removeprefix("acme.toml: ") for line in lines]


@pytest.mark.parametrize(
    ("file", "faults"),
    [
        (b"\xff", ["is not text in UTF-8; save it as such"]),
        (b"name =", ["is not TOML: Invalid value (at end of document)"]),
        (HEAD + b'slug = "x"', ["slug: is the name of the file; take it out"]),
        (b'page = "-"', ["name: is missing"]),
        (HEAD + b'retris = "x"', ["retris: is not known here; did you mean 'retries'?"]),
        (HEAD + b'patience = "soon"', ["patience: should be a number"]),
        (HEAD + b'channels = "sms"\nevents = 5', ["channels: should be a list", "events: should be a list"]),
        (HEAD + b'[statuses]\nX = "arrived"',
         ["statuses.X: should be unknown, queued, sent, undelivered, failed, expired, rejected, delivered or read"]),
        (HEAD + b"[answers]\ninbound = { status = 404 }",
         ["answers.inbound.status: should be less than or equal to 299"]),
        (HEAD + b'[send]\nurl = "https://x"', ["send.url: should be a table"]),
        (HEAD + b'[send.sms]\nurl = "https://x"\njson_ = {}\nmethod = "PATCH"',
         ["send.sms.method: should be POST, GET or PUT", "send.sms.json_: is not known here; did you mean 'json'?"]),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place(tmp_path: Path, file: bytes, faults: list[str]) -> None:
    assert faults_of(tmp_path, file) == faults


@pytest.mark.parametrize(
    ("rule", "faults"),
    [
        (b'kind = "inbund"', ["rule 2, kind: should be inbound, receipt, change or ignore"]),
        (b'kind = "inbound"\ntext = "t"', ["rule 2: an event of kind inbound needs address"]),
        (b'kind = "ignore"\ntext = 5', ["rule 2, text: should be a text, a table or a list"]),
        (b'kind = "ignore"\ntext = { pth = "t" }', ["rule 2, text.pth: is not known here; did you mean 'path'?"]),
        (b'kind = "ignore"\ntext = {}', ["rule 2, text: give one of path, const and expr"]),
        (b'kind = "ignore"\ntext = ["t", { path = "u", nne = [] }]',
         ["rule 2, text[2].nne: is not known here; did you mean 'none'?"]),
        (b'kind = "ignore"\nwhen = { a = 5.5 }', ["rule 2, when.a: should be true or false, a text or a list"]),
        (b'kind = "ignore"\nwhen = { a = ["b", 1] }', ["rule 2, when.a[2]: should be a text"]),
        (b'kind = "ignore"\n[[handshakes]]\nmethod = "PUT"', ["handshake 1, method: should be GET, POST or OPTIONS"]),
        (b'kind = "ignore"\n[[status_rules]]\nstatus = "sent"', ["status rule 1, when: is missing"]),
        (b'kind = "ignore"\n[[unwrap]]\nsteps = ["hex"]',
         ["unwrap[1].path: is missing", "unwrap[1].steps[1]: should be base64 or json"]),
    ],
)  # fmt: skip
def test_rules_are_counted_as_decode_counts_them(tmp_path: Path, rule: bytes, faults: list[str]) -> None:
    assert faults_of(tmp_path, EVENT + rule) == faults


@pytest.mark.parametrize(
    ("scheme", "faults"),
    [
        (b'type = "hmack"', [f"signature.type: should be {SCHEMES}"]),
        (b'header = "x"', [f"signature.type: should be {SCHEMES}"]),
        (b'type = "token"\nheadr = "x"', ["signature.headr: is not known here; there are type"]),
        (b'type = "any"\nof = [{ type = "token" }, { type = "hmac", headr = "x" }]',
         ["signature.of[2].header: is missing", "signature.of[2].headr: is not known here; did you mean 'header'?"]),
    ],
)  # fmt: skip
def test_a_scheme_is_known_by_its_type(tmp_path: Path, scheme: bytes, faults: list[str]) -> None:
    assert faults_of(tmp_path, HEAD + b"[signature]\n" + scheme) == faults
