"""The README's examples of what is beyond STOP can be applied as they stand there."""

import re
from pathlib import Path

import pytest

from tests.commands import file_of, runner, told

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
SECTION = README.partition("## Beyond STOP")[2].partition("\n## ")[0]
#: whose keyword the first example's is
WEBHOOK = """
[[webhooks]]
name = "acme-inbound"
provider = "twilio"
secret = "a-secret"
sender = "+14155550199"
"""


def examples() -> list[str]:
    return re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)


def test_each_page_has_its_example_of_ten_lines_at_most() -> None:
    assert re.findall(r"\(config/(\w+)\.md\)", SECTION) == [
        "actions",
        "governance",
        "streams",
        "lookups",
        "audiences",
        "documents",
    ]
    assert [len(example.splitlines()) <= 10 for example in examples()] == [True] * 5


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_the_examples_can_be_applied_one_after_the_other(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = runner(database_url, monkeypatch, tmp_path)
    monkeypatch.setenv("CRM_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    files = [example.replace("[[webhooks.", f"{WEBHOOK}[[webhooks.") for example in examples()]

    ended = [told(run("apply", file_of(tmp_path, file))) for file in files]

    assert [(status, errors) for status, _, errors in ended] == [(0, "")] * 5
