"""Whatever comes, nothing in decode raises: not for any bytes, and not for what is nearly a provider's request."""

import json
import re
from dataclasses import fields
from html import escape
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.decode import Shaken, decoder, explain_reading, explained_json, handshaker
from app.events import Decoded, Reading
from app.provider import Provider
from app.request import Request
from app.webhook import Webhook
from tests.decoding import FORM, NOON, PROVIDERS, lines, load_sample, replaced, request, sample_names

PAYLOADS = {
    "type": "both",
    "payload": '{"n": "{{profileNumber}}", "t": "{{inboundMessage}}"}',
    "feedback_payload": '[{"messageId": "{{messageId}}", "status": "{{feedbackStatus}}"}]',
}


def hook(provider: Provider) -> Webhook:
    payloads = {} if provider.events else PAYLOADS
    return Webhook.model_validate({"name": "any", "provider": provider.slug, "region": "CH", **payloads})


DECODERS = {slug: decoder(provider, hook(provider)) for slug, provider in PROVIDERS.items()}
SHAKERS = {slug: handshaker(provider, hook(provider)) for slug, provider in PROVIDERS.items()}


def words_of(provider: Provider) -> list[str]:
    """Names and words of the provider file, so that chance gets past its conditions."""
    told = provider.model_dump_json(include={"events", "handshakes", "unwrap", "statuses", "status_rules"})
    return sorted(set(re.findall(r"[A-Za-z0-9_.-]+|[A-Za-z0-9]+", told + json.dumps(PAYLOADS))))


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=20),
    st.sampled_from(["+41791234567", "41791234567", "whatsapp:+41791234567", "|", "%", "2024-06-06T07:52:37.386Z", "1e999",
                     "e30=", "bnVsbA", '{"a": [1]}', "[[]]", "<a>", "00530054", "255"]),
)  # fmt: skip
HEADER = st.text(st.characters(max_codepoint=255), max_size=20)


def xml(tree: Any) -> str:
    """The tree as elements, with an attribute here and there, or as something that is nearly so."""
    match tree:
        case dict():
            return "".join(
                f'<{name or "a"} k="{escape(name)}">{xml(value)}</{name or "a"}>' for name, value in tree.items()
            )
        case list():
            return "".join(f"<item>{xml(value)}</item>" for value in tree)
        case _:
            return escape(str(tree))


@st.composite
def requests(draw: st.DrawFn, provider: Provider) -> Request:
    """A request of any kind, made of the provider file's words."""
    words = st.sampled_from(words_of(provider))
    names = words | st.text(max_size=5)
    leaves = LEAVES | words
    pairs = st.dictionaries(names, leaves.map(str), max_size=12).map(lambda found: urlencode(found, errors="replace"))
    trees = st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6), max_leaves=30
    )
    body, content_type = draw(
        st.one_of(
            st.tuples(trees.map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass")), st.just("application/json")),
            st.tuples(pairs.map(str.encode), st.just(FORM)),
            st.tuples(trees.map(lambda tree: f"<r>{xml(tree)}</r>".encode("utf-8", "replace")), st.just("text/xml")),
            st.tuples(st.text().map(lambda text: text.encode("utf-8", "replace")), st.just("text/plain; charset=utf-16")),
            st.tuples(st.just(b""), st.just("")),
            st.tuples(st.binary(max_size=200), st.sampled_from(["", FORM, "application/json; charset=utf-16", "a/xml"])),
        )
    )  # fmt: skip
    headers = draw(st.dictionaries(words.map(str.lower), HEADER | words, max_size=6))
    method = draw(st.sampled_from(["GET", "POST", "PUT", "OPTIONS"]))
    return request(body, content_type, draw(pairs), method=method, headers=headers)


def check(slug: str, came: Request) -> None:
    """What the other rooms rely on."""
    shake = SHAKERS[slug]
    check_shaken(shake(came) if shake else None)
    check_decoded(DECODERS[slug](came))
    json.dumps(explained_json(explain_reading(PROVIDERS[slug], hook(PROVIDERS[slug]), came)))


def check_shaken(shaken: Shaken | None) -> None:
    for name, value in shaken.headers if shaken else ():
        assert (name + value).isascii()
        assert (name + value).isprintable()


def check_decoded(decoded: Decoded) -> None:
    assert decoded.reading in Reading
    assert bool(decoded.problem) == (decoded.reading is Reading.UNDECODED)
    for event in decoded.events:
        texts = [value for field in fields(event) if isinstance(value := getattr(event, field.name), str)]
        assert not any("\0" in text for text in texts)
        "".join(texts).encode()
        assert event.key


@pytest.mark.parametrize("slug", sorted(PROVIDERS))
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_no_request_makes_decode_raise(slug: str, data: st.DataObject) -> None:
    check(slug, data.draw(requests(PROVIDERS[slug])))


@pytest.mark.parametrize("slug", sorted(PROVIDERS))
def test_samples_with_other_values_do_not_make_decode_raise(slug: str) -> None:
    """Each value of each sample is replaced by others, one at a time."""
    for name in sample_names(slug):
        sample, webhook, _ = load_sample(name)
        decode, shake = decoder(PROVIDERS[slug], webhook), handshaker(PROVIDERS[slug], webhook)
        for body, query, headers in spoilt(sample):
            came = Request(sample.method, sample.url, headers, body, NOON, query=query)
            check_shaken(shake(came) if shake else None)
            check_decoded(decode(came))


def spoilt(sample: Request) -> Any:
    """(body, query, headers), again and again with another value in one of them."""
    for header in sample.headers:
        for other in ("", "x", "[1]", "\xff\0"):
            yield sample.body, sample.query, {**sample.headers, header: other}
    for query in spoilt_form(sample.query):
        yield sample.body, query, sample.headers
    for body in spoilt_body(sample):
        yield body, sample.query, sample.headers


def spoilt_body(sample: Request) -> Any:
    if sample.form:
        yield from (form.encode() for form in spoilt_form(sample.body.decode()))
    elif sample.body[:1] in (b"{", b"["):
        tree = json.loads(sample.body)
        for place in lines(tree):
            for other in (None, 7, "x", [], {}, [[None]], True, "e30=", '{"a": [{}]}'):
                yield json.dumps(replaced(tree, place, other)).encode()
    else:
        yield from (sample.body[:end] for end in range(0, len(sample.body), 7))


def spoilt_form(form: str) -> Any:
    pairs = parse_qsl(form, keep_blank_values=True)
    for place, (name, _) in enumerate(pairs):
        for other in ("", "7", "x" * 700, "\0", "[1]", "[{}]", "%", "²"):
            yield urlencode([*pairs[:place], (name, other), *pairs[place + 1 :]])
