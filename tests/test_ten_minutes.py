"""The provider of config/providers/README.md, added as that page says: its files, its commands, its tests."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "config" / "providers" / "README.md").read_text("utf-8")
VENDORS = (ROOT / "tests" / "vendors" / "README.md").read_text("utf-8")
#: a file, and before it its name
FILE = re.compile(r"`([\w./-]+)`:\n\n```\w+\n(.*?)```", re.DOTALL)
COMMANDS = re.compile(r"```sh\n(.*?)```", re.DOTALL)
#: what every provider passes
CHECKS = ("test_decode", "test_decode_lines", "test_samples", "test_send_vendors", "test_serve_guide")


def shown_files() -> dict[str, str]:
    return {name: text for page in (PAGE, VENDORS) for name, text in FILE.findall(page)}


def commands_with(word: str) -> Iterator[str]:
    found = [block for block in COMMANDS.findall(PAGE) if word in block]
    assert found, f"no command of the page has {word} in it"
    return iter(found)


def sh(folder: Path, command: str) -> str:
    """In a folder that holds its own copy of the application."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TEXTBACK", "COV"))}
    environ["PYTHONPATH"] = str(folder)
    ran = subprocess.run(["sh", "-ec", command], cwd=folder, env=environ, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application with the page's files, and no other samples."""
    folder = tmp_path_factory.mktemp("house")
    for name in ("app", "config", "migrations", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "samples", "bench"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / ".venv").symlink_to(sys.prefix)
    for name, text in shown_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="module")
def expectations(house: Path) -> Mapping[str, Any]:
    """What the page's command writes beside each sample."""
    for command in commands_with("--expect"):
        sh(house, command)
    return {path.stem: json.loads(path.read_text("utf-8")) for path in house.glob("tests/samples/acme/*.json")}


def test_what_is_expected_is_what_the_command_prints(expectations: Mapping[str, Any]) -> None:
    shown = json.loads(shown_files()["tests/samples/acme/inbound__sms.json"])

    assert expectations["inbound__sms"] == shown
    assert {name: told["expect"]["reading"] for name, told in expectations.items()} == {
        "inbound__sms": "events",
        "other__call": "undecoded",
        "receipt__delivered": "events",
        "receipt__expired": "events",
    }


@pytest.mark.skipif(not shutil.which("openssl"), reason="it signs with openssl")
def test_the_signature_is_what_the_command_makes(house: Path) -> None:
    sample = shown_files()["tests/samples/acme/inbound__sms.http"]

    made = "".join(sh(house, command) for command in commands_with("openssl"))

    assert f"X-Acme-Signature: {made.split()[-1]}\n" in sample


def test_it_passes_what_every_provider_passes(house: Path, expectations: Mapping[str, Any]) -> None:
    assert expectations
    sh(house, ".venv/bin/textback providers --write config/providers")

    told = sh(
        house,
        f'{sys.executable} -m pytest {" ".join(f"tests/{name}.py" for name in CHECKS)} -k "acme and not postgres"',
    )

    passed = re.search(r"(\d+) passed", told)
    assert passed
    assert int(passed[1]) >= 28, "4 samples read and sent, 3 checks of lines, 14 of what is sent, 3 of the page"
