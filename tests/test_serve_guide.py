"""The page of each provider: it says what its file says, and it is not out of date."""

import re
import tomllib

import pytest

from app.credential import Credential
from app.provider import Provider
from app.serve.guide import page
from app.settings import CONFIG_DIR
from app.webhook import CUSTOM, Webhook
from tests.decoding import PROVIDERS


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_the_page_is_the_one_that_make_providers_writes(provider: Provider) -> None:
    file = CONFIG_DIR / "providers" / f"{provider.slug}.md"

    written = file.read_text("utf-8") if file.exists() else ""

    assert written == page(provider), "run: make providers"


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_the_entries_of_a_page_have_the_form_of_an_apply_file(provider: Provider) -> None:
    block = re.search(r"```toml\n(.*?)```", page(provider), re.DOTALL)
    assert block

    entries = tomllib.loads(block[1].replace('{ type = "…" }', '{ type = "token" }').replace("{ … }", "{ }"))

    assert [Webhook.model_validate(entry).provider for entry in entries["webhooks"]] == [provider.slug]
    for entry in entries.get("credentials", ()):
        assert Credential.model_validate(entry).provider == provider.slug


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_a_provider_file_says_what_a_person_must_know(provider: Provider) -> None:
    told = (
        provider.page.startswith("https://"),
        bool(provider.channels),
        bool(provider.retries or provider.slug == CUSTOM),
    )

    assert told == (True, True, True)
