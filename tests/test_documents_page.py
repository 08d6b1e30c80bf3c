"""config/documents.md, done as it stands there."""

import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
import sqlalchemy as sa

from app.record.database import Database
from tests import fake_provider
from tests.commands import KEY, file_of, runner, told
from tests.fake_provider import answer
from tests.serving import serving

PAGE = (Path(__file__).parent.parent / "config" / "documents.md").read_text("utf-8")


def blocks(kind: str) -> list[str]:
    return [
        re.sub("^   ", "", block, flags=re.MULTILINE) for block in re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    ]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_the_page_does_what_it_says(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    [apply_file], [commands, curls], [expected], [query] = blocks("toml"), blocks("sh"), blocks("json"), blocks("sql")
    run = runner(database_url, monkeypatch, tmp_path)
    monkeypatch.setenv("ARCHIVE_KEY", "the-archive-key")
    monkeypatch.setenv("TEXTBACK_ALLOWED_PRIVATE_DESTINATIONS", "127.0.0.1")
    with fake_provider.running() as there:
        there.plan.append(answer(200, {"archived": True}))
        file_of(tmp_path, apply_file.replace("https://archive.example.com", there.url), "documents.toml")

        applied, made = [told(run(*shlex.split(line, comments=True)[1:])) for line in commands.splitlines()]
        key = made[1].strip().splitlines()[-1]
        with serving(database_url, secret_key=KEY, allowed_private_destinations="127.0.0.1") as served:
            answers = []
            for line in curls.splitlines():
                *words, url = shlex.split(line)[1:]
                headers = dict(word.replace("$KEY", key).split(": ") for word in words if word != "-H")
                where = urlsplit(url)
                answers.append(served.ask("GET", f"{where.path}?{where.query}", token=None, headers=headers).json)

    assert (applied[0], made[0]) == (0, 0)
    assert answers == [orjson.loads(line) for line in expected.splitlines()]
    [sent] = there.requests
    assert (sent.method, sent.target) == ("PUT", "/documents/5502082c003a4f30/versions/54b598a7")
    assert (sent.headers["authorization"], sent.json) == ("Bearer the-archive-key", {"by": "becky@example.com"})
    [call] = database.read_now(lambda conn: conn.execute(sa.text(re.sub("WHERE.*;", "", query))).all())
    assert (call.action, call.outcome, call.response) == ("archive", "success", '{"archived": true}')
    assert sent.headers["idempotency-key"] == orjson.loads(call.fields)["_id"]
