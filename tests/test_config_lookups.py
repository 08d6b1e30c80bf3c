"""The operator's page of look-ups does what it says: its apply file, its snippet, its link from a server."""

import json
import re
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from tests.commands import file_of, runner
from tests.lookups import until
from tests.serving import serving

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "config" / "lookups.md").read_text("utf-8")
GOLD, SUBSCRIBED = "gold", "subscribed"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_the_example_is_applied_and_answers_as_the_page_says(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = runner(database_url, monkeypatch, tmp_path)
    assert run("apply", file_of(tmp_path, block("toml"))).exit_code == 0
    assert run("consent", "set", "+14155550100", "opted_in", "--reason", "asked", "--actor", "dora").exit_code == 0
    token = run("token", "create", "shop", "--scope", "lookup").stdout.split()[0]
    call = block("sh")
    query = re.search(r"/ee/v2/interact\?([^\"]*)", call)
    body = re.search(r"-d '(.*)'", call, re.DOTALL)
    settings = dict(re.findall(r'(\w+): "([^"]*)"', block("js")))
    assert query
    assert body

    with serving(database_url, secret_key="k" * 32, evidence_key="e" * 32) as served:
        ids = {each["name"]: each["id"] for each in served.ask("GET", "/v1/audiences").json["items"]}
        assert ids == {GOLD: None, SUBSCRIBED: None}
        served.ask("PATCH", "/v1/profiles/+14155550100", {"attributes": {"tier": "gold"}})

        def linked() -> dict[str, dict[str, object]]:
            answer = served.ask("POST", f"/ee/v2/interact?{query[1]}", json.loads(body[1]), token=token)
            assert answer.status == 200
            return {each["alias"]: each for each in answer.json["handle"][-1]["payload"]}

        assert until(lambda: len(linked()["personalizationAlias"]["segments"]) == 2)
        assert linked()["adServerAlias"]["attributes"] == {"tier": {"value": "gold"}}
        shown = served.ask(
            "POST", f"/ee/v1/interact?configId={settings['datastreamId']}", json.loads(body[1]), token=None,
            headers={"Origin": "https://www.example.com"},
        )  # fmt: skip

    pulled = {each["alias"]: len(each["segments"]) for each in shown.json["handle"][-1]["payload"]}
    [cookie] = shown.json["handle"][0]["payload"]
    assert pulled == {"personalizationAlias": 2, "adServerAlias": 1}
    assert cookie["key"] == f"kndctr_{settings['orgId'].replace('@', '_')}_identity"
    assert dict(parse_qsl(query[1]))["datastreamId"] == settings["datastreamId"]


def test_the_snippet_configures_what_the_tried_page_configures() -> None:
    tried = (ROOT / "tests" / "web" / "page.html").read_text("utf-8")

    def names(text: str) -> list[str]:
        configure = re.search(r'alloy\("configure", \{(.*?)\}\)', text, re.DOTALL)
        assert configure
        return re.findall(r"^\s*(\w+): (?!\")", re.sub(r': "[^"]*"', ": x", configure[1]), re.MULTILINE)

    assert names(block("js")) == names(tried)
