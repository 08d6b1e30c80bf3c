"""The wheel holds everything that textback needs, and works where there is no repository."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from app import settings, shipped
from app.errors import BadInput
from tests.postgres import free_port
from tests.test_server import PATIENCE, inbound
from tests.test_story import KEYS, WEBHOOK, is_ready, wait_for

ROOT = Path(__file__).parent.parent
#: of the repository, and not for the world
LEFT_OUT = {"config/settings.toml"}
BUILD = ("wheel", "--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check")


def run(folder: Path, *words: object, **settings: str) -> str:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("TEXTBACK", "PYTHON", "COV"))} | settings
    ran = subprocess.run(words, cwd=folder, env=environ, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what is in the repository, so that nothing left from another build comes in."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("app", "config", "migrations"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "config" / "settings.toml").write_text('admin_token = "a secret of this house"\n')
    for name in ("pyproject.toml", "README.md"):
        (source / name).write_bytes((ROOT / name).read_bytes())
    run(source, sys.executable, "-m", "pip", *BUILD, "-w", folder, source)
    [built] = folder.glob("*.whl")
    shutil.rmtree(source)
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment of its own with textback, and with what it stands on from ours."""
    folder = tmp_path_factory.mktemp("installed")
    run(folder, sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    site = Path(run(folder, python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # a path alone: the finder of our own editable install stays out of it
    (site / "stands_on.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    run(folder, sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)
    return folder


def files(*folders: str) -> Iterator[str]:
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(ROOT))


def test_every_file_of_config_and_migrations_is_in_the_wheel_and_no_secrets_are(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    held = {name.partition("data/share/textback/")[2] for name in names if "data/share/textback/" in name}

    assert held == set(files("config", "migrations")) - LEFT_OUT
    assert set(files("app")) - set(names) == set()


def test_it_migrates_applies_and_serves_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    program, port = installed / "venv" / "bin" / "textback", free_port()
    (tmp_path / "apply.toml").write_text(WEBHOOK)
    (tmp_path / "own.toml").write_text(f"port = {port}\naccess_log = false\n")
    given = KEYS | {"TEXTBACK_CONFIG": "own.toml"}

    assert "revision" in run(tmp_path, program, "migrate", **given)
    [webhook] = orjson.loads(run(tmp_path, program, "apply", "apply.toml", "--json", **given))
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("TEXTBACK", "PYTHON", "COV"))} | given
    with (tmp_path / "console").open("w") as console:
        server = subprocess.Popen([program, "serve"], cwd=tmp_path, env=environ, stdout=console, stderr=console)
        try:
            wait_for(lambda: is_ready(port), PATIENCE)
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as caller:
                caller.sendall(inbound(f"/in/{webhook['url'].rpartition('/')[2]}", "m1"))
                assert caller.recv(100).startswith(b"HTTP/1.1 200")
            server.send_signal(signal.SIGTERM)
            assert server.wait(PATIENCE) == 0
        finally:
            server.kill()
            server.wait()


def test_an_installed_textback_has_its_files_beneath_its_own_prefix(installed: Path) -> None:
    python = installed / "venv" / "bin" / "python"
    code = "from app import settings, shipped; print(shipped.__file__, settings.CONFIG_DIR, settings.settings_file())"

    where, config, file = run(installed, python, "-c", code).split()

    assert Path(where).is_relative_to(installed)
    assert Path(config) == installed / "venv" / "share" / "textback" / "config"
    assert file == "/etc/textback/settings.toml"


def test_pip_target_puts_its_files_beside_the_package(wheel: Path, tmp_path: Path) -> None:
    words = ("install", "--quiet", "--no-deps", "--no-index", "--target", tmp_path / "here", wheel)
    run(tmp_path, sys.executable, "-m", "pip", *words)

    told = run(tmp_path, sys.executable, "-I", "-c", "import sys; sys.path.insert(0, 'here');"
               " from app import shipped; print(shipped.shipped('config')); print(shipped.shipped('migrations'))")  # fmt: skip

    assert told.split() == [str(tmp_path / "here" / "share" / "textback" / name) for name in ("config", "migrations")]


def test_a_settings_file_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    monkeypatch.setenv(settings.FILE_VARIABLE, str(file))
    with pytest.raises(BadInput, match=r"TEXTBACK_CONFIG names .*mine\.toml, and there is no such file"):
        settings.load()

    file.write_text("port = 9000\n")
    assert settings.load().port == 9000
    monkeypatch.delenv(settings.FILE_VARIABLE)
    assert settings.settings_file() == shipped.shipped("config") / "settings.toml"


def test_what_the_container_file_copies_exists_and_it_runs_as_nobody_special() -> None:
    text = (ROOT / "config" / "Containerfile").read_text("utf-8")
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)]

    assert copied
    assert [name for names in copied for name in names if not (ROOT / name).exists()] == []
    assert {"requirements.lock", "app", "config", "migrations"} <= {name for names in copied for name in names}
    assert text.rindex("USER textback") > text.rindex("\nFROM ")
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"python:3.11-slim"}


@pytest.mark.parametrize("unit", ["textback.service", "textback-send.service"])
def test_systemd_waits_longer_than_textback_takes_to_stop(unit: str) -> None:
    text = (ROOT / "config" / unit).read_text("utf-8")
    [patience] = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    usual = settings.Settings.model_fields

    assert int(patience) >= 2 * (usual["shutdown_delay"].default + usual["shutdown_deadline"].default)
    assert re.search(r"^ExecStart=/opt/textback/bin/textback (serve|send)$", text, re.MULTILINE)
    assert "Type=notify" in text
