"""Every provider file, by exact requests: `samples/<slug>/<event>__<variant>.http`, and beside it `.json`.

What they look like, tests/README.md says. That no line of a provider file is without one: `test_decode_lines`.
"""

import pytest

from app.decode.expected import expected
from tests.decoding import PROVIDERS, SAMPLES, load_sample, sample_names


@pytest.mark.parametrize("name", sample_names())
def test_a_sample_is_read_as_expected(name: str) -> None:
    request, webhook, told = load_sample(name)

    assert expected(PROVIDERS[webhook.provider], webhook, request) == told


def test_every_sample_has_both_of_its_files_and_a_provider_and_every_provider_has_samples() -> None:
    requests = sorted(SAMPLES.glob("*/*.http"))
    outcomes = sorted(SAMPLES.glob("*/*.json"))

    assert [path.with_suffix("") for path in requests] == [path.with_suffix("") for path in outcomes]
    assert {path.parent.name for path in requests} == set(PROVIDERS)
