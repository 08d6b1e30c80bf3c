"""No line of a provider file without a sample: each is taken away, one at a time, and some sample must notice."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from pydantic import ValidationError

from app.decode import decoder, explain_reading, handshaker
from app.decode.expected import outcome, shown_handshake
from app.decode.explained import RuleRead
from app.decode.fields import listed, spelt_one
from app.decode.folding import VALUE_FIELDS, fold_paths
from app.errors import BadInput
from app.events import Status
from app.provider import EventRule, Provider, spelt_line
from app.request import Request
from app.webhook import Webhook
from tests.decoding import PROVIDERS, lines, load_sample, sample_names, without

Sample = tuple[Request, Webhook, dict[str, Any]]
Told = tuple[dict[str, Any], list[str]]
"""What is read, as a sample tells it, and the keys of the events, which it does not tell."""

#: what people read, what is not decode's (test_samples and the tests of send show it), and what is looked at below
ELSEWHERE = {"slug", "name", "page", "channels", "notes", "setup", "secret", "unconfirmed", "retries", "patience",
             "body_limit", "signature", "send", "answers", "statuses"}  # fmt: skip


#: for a condition of the last rule that could hold
KEPT_OUT = {"expect": {"reading": "undecoded", "events": [], "answer": "inbound"}}


@cache
def samples_of(slug: str) -> list[Sample]:
    return [load_sample(name) for name in sample_names(slug)]


def without_each_line(provider: Provider) -> Iterator[tuple[str, Provider]]:
    """The provider file again and again, each time with another line left out or, in the status map, made wrong."""
    for word, status in provider.statuses.items():
        wrong = Status.READ if status != Status.READ else Status.QUEUED
        yield f"statuses.{word}", provider.model_copy(update={"statuses": {**provider.statuses, word: wrong}})
    whole = provider.model_dump(exclude={"send"}, exclude_unset=True)
    for place in lines({name: value for name, value in whole.items() if name not in ELSEWHERE}):
        with suppress(ValidationError):  # no file can be without this line
            yield spelt_line(place), Provider.model_validate({"slug": provider.slug, **without(whole, place)})


def notices(poorer: Provider, samples: list[Sample], told: list[Told]) -> bool:
    """Whether a sample is read otherwise than it should be, or the file cannot be used any more."""
    try:
        return any(now != before for now, before in zip(readings(poorer, samples), told, strict=True))
    except BadInput:
        return True


def readings(provider: Provider, samples: list[Sample]) -> Iterator[Told]:
    """Each sample read; compiled once for samples with the same webhook."""
    readers: dict[str, Callable[[Request], Told]] = {}
    for request, webhook, _ in samples:
        name = webhook.model_dump_json()
        readers[name] = readers.get(name) or reader(provider, webhook)
        yield readers[name](request)


def reader(provider: Provider, webhook: Webhook) -> Callable[[Request], Told]:
    shake, decode = handshaker(provider, webhook), decoder(provider, webhook)

    def read(request: Request) -> Told:
        shaken = shake(request) if shake else None
        if shaken:
            return {"handshake": shown_handshake(shaken)}, []
        decoded = decode(request)
        return outcome(decoded), [event.key for event in decoded.events]

    return read


def cure(slug: str) -> str:
    return (
        f"Add samples in tests/samples/{slug} that need them: for a value or a status, a request that has it; for a"
        f" condition (when), a request that this condition keeps out, e.g. {json.dumps(KEPT_OUT)}. What stands for"
        " nothing, leave out of the file."
    )


@pytest.mark.parametrize("slug", sorted(PROVIDERS))
def test_every_line_of_a_provider_file_is_shown_by_a_sample(slug: str) -> None:
    """A line that can be left out, with no sample noticing, is shown by none."""
    samples = samples_of(slug)
    told = list(readings(PROVIDERS[slug], samples))

    unnoticed = [line for line, poorer in without_each_line(PROVIDERS[slug]) if not notices(poorer, samples, told)]

    assert not unnoticed, f"{slug}.toml: no sample notices when these are missing: {'; '.join(unnoticed)}. {cure(slug)}"


@pytest.mark.parametrize("slug", sorted(PROVIDERS))
def test_every_answer_of_a_provider_file_is_wanted_by_a_sample(slug: str) -> None:
    wanted = {expected.get("answer") for _, _, expected in samples_of(slug)}

    unwanted = sorted(set(PROVIDERS[slug].answers) - wanted)

    assert not unwanted, (
        f"{slug}.toml: no sample is answered so: {', '.join(unwanted)}; add one to tests/samples/{slug}"
    )


# --- which of them ------------------------------------------------------------------------------------------------


def rows_of(provider: Provider) -> list[str]:
    """What a provider file tells: its handshakes, kinds of events, each place of each value, the status map."""
    provider = fold_paths(provider)
    rows = [f"handshake {number}" for number, _ in enumerate(provider.handshakes, 1)]
    for number, rule in enumerate(provider.events, 1):
        rows.append(row_of(number, rule))
        rows.extend(f"{row_of(number, rule)}, {value}" for value in places_of(rule))
    return rows + [f"statuses.{word}" for word in provider.statuses]


def row_of(number: int, rule: EventRule | RuleRead) -> str:
    return f"rule {number} ({rule.kind})"


def places_of(rule: EventRule) -> Iterator[str]:
    """`text[2] = Body`: the second place where the text is looked for."""
    for name in VALUE_FIELDS:
        for place, one in enumerate(listed(getattr(rule, name)), 1):
            yield f"{name}[{place}] = {spelt_one(one)}"


def rows_shown(provider: Provider, samples: list[Sample]) -> set[str]:
    shown: set[str] = set()
    for request, webhook, _ in samples:
        explained = explain_reading(provider, webhook, request)
        shown.update(f"handshake {one.number}" for one in explained.handshakes if not one.lacks)
        for rule in (rule for rule in explained.rules if rule.reads):
            shown.add(row_of(rule.number, rule))
            shown.update(rows_read(rule))
    return shown


def rows_read(rule: RuleRead) -> Iterator[str]:
    for field in rule.fields:
        for place, looked in enumerate(field.looked, 1):
            if looked.value:
                yield f"{row_of(rule.number, rule)}, {field.name}[{place}] = {looked.path}"
                if field.name == "status":
                    yield f"statuses.{looked.value.casefold()}"


@pytest.mark.parametrize("slug", sorted(PROVIDERS))
def test_every_status_kind_and_place_of_a_provider_file_is_met_in_a_sample(slug: str) -> None:
    rows, shown = rows_of(PROVIDERS[slug]), rows_shown(PROVIDERS[slug], samples_of(slug))

    missing = [row for row in rows if row not in shown]

    told = f"{slug}.toml: {len(missing)} of {len(rows)} rows are met in no sample: {'; '.join(missing)}"
    assert not missing, f"{told}. Add a request to tests/samples/{slug} for each."
