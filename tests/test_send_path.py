"""The path of an action: the documents' own example as printed, and no value that leads anywhere else."""

import re
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.action import Action
from app.errors import BadInput, SendFailed
from app.send.actions.fields import NoValue
from app.send.actions.path import path
from app.send.actions.request import composer

FIELDS: dict[str, Any] = {
    "event": {"_id": "4711", "text": "Hello World", "code": "30003", "keyword": "", "channel": 7},
    "profile": {"first-name": "Ann", "crm.id": "A/7"},
    "consent": {"state": "opted_in", "may_send": True},
}


def filled(text: str) -> str:
    return path(text).fill(FIELDS)


def test_the_example_of_the_document_passes_as_printed() -> None:
    for printed in ("_id + '/messages'", "The _id + '/messages'", "The _id + ’/messages’", '_id+"/messages"'):
        action = Action(name="crm", url="https://xxx.yyy.com:8080/somethingstatic/", path=printed)

        assert composer(action)(FIELDS).url == "https://xxx.yyy.com:8080/somethingstatic/4711/messages"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("'users'", "users"),
        ("“users/” + event._id", "users/4711"),
        ("‘users/’ + event._id", "users/4711"),
        ("'it\\'s'", "it's"),
        ("text", "Hello%20World"),
        ("event.text + '/' + profile.first-name + '/' + consent.state", "Hello%20World/Ann/opted_in"),
        ("profile.crm.id", "A%2F7"),
        ("consent.may_send", "true"),
        ("event.channel + '/' + 5", "7/5"),
        ("concat('a/', _id, '/b')", "a/4711/b"),
        ("concat('a/', upper('b/'))", "a/B%2F"),
        ("substr(text, 6)", "World"),
        ("substr(text, 0, 5) + substring(text, length(_id), length(text))", "Helloo%20World"),
        ("upper(text) + '/' + lower(text)", "HELLO%20WORLD/hello%20world"),
        ("trim(' a ')", "a"),
        ("replace(text, 'l', 'x')", "Hexlo%20World"),
        ("replaceAll(text, 'l', 'x')", "Hexxo%20Worxd"),
        ("replaceAll(text, ' ', '?')", "Hello%3FWorld"),
        ("length(text)", "11"),
        ("toString(event.channel)", "7"),
        ("(('a')) + upper((text))", "aHELLO%20WORLD"),
    ],
)
def test_text_fields_and_functions_are_joined(text: str, found: str) -> None:
    assert filled(text) == found


def test_a_path_names_its_fields() -> None:
    assert path("concat(_id, text) + upper(profile.crm.id) + event._id").fields == (
        "event._id", "event.text", "profile.crm.id",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("_id + '/messages", "character 7: the text that ' begins has no end"),
        ("_id @ 'x'", "character 5: @ has no meaning here"),
        ("_id +", "character 6: here a text in quotes, a field or a function should stand"),
        ("_id 'x'", "character 5: join what comes here with +"),
        ("_id + txet", "character 7: 'txet' is no field; did you mean 'event.text'?"),
        ("event.txet", "character 1: 'event.txet' is no field; did you mean 'event.text'?"),
        ("program + zzzz", "character 11: 'zzzz' is no field; there are _id, event.…, profile.… and consent.…"),
        ("profile.", "character 1: 'profile.' is no field"),
        ("'a' + left(text, 2)", "character 7: there is no function 'left'; there are concat, substr"),
        ("upper(text, 2)", "character 1: upper is written upper(text)"),
        ("concat()", "character 1: concat is written concat(text, text, …)"),
        ("upper(text", "character 11: upper( has no end"),
        ("upper('a' 'b')", "character 11: upper( has no end; close it with ), and separate what is in it with commas"),
        ("('a' + _id", "character 11: the ( of character 1 has no end"),
        ("(" * 30 + "_id", "character 21: more than 20 parentheses within each other are not taken"),
        ("'a' + '/x?q=1'", "character 10: ? cannot stand in a path; parameters go into query"),
        ("'a#b'", "character 3: # cannot stand in a path; parameters go into query"),
        ("'a b'", "character 3:   cannot stand in a path; write %20"),
        ("'ä'", "character 2: ä cannot stand in a path; write %C3%A4"),
        ("'%' + _id", "character 2: % cannot stand in a path; write %25"),
        ("'%2' + _id", "character 2: % cannot stand in a path"),
        ("'../x'", "this leads to another path, for a step of it is . or .."),
        ("_id + '/%2e%2E;a/x'", "this leads to another path"),
        ("'a/' + '.' + './b'", "this leads to another path"),
        ("substr(text, 'x')", "where it begins and ends should be whole numbers"),
    ],
)
def test_a_broken_path_is_told_with_the_character(text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=re.escape(sentence)) as caught:
        path(text)

    assert str(caught.value).startswith("path")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("_id + profile.zip", "path: profile.zip has no value"),
        ("keyword", "path: event.keyword is empty"),
        ("upper(sender)", "path: event.sender has no value"),
        ("'a/' + substr(text, 20)", "path: substr(…) is empty"),
    ],
)
def test_a_missing_value_is_named(text: str, sentence: str) -> None:
    with pytest.raises(NoValue, match=re.escape(sentence)):
        filled(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("text", ".."),
        ("'a/' + text + '/b'", "."),
        ("'a/.' + text", "."),
        ("text + code", "."),
        ("'a/' + text", "../../b"),
        ("text", "..\\b"),
        ("text", "%2e%2e"),
        ("text", "a%2f..%2fb"),
        ("text", "%252e."),
        ("text", "..;x=y"),
        ("text", " .. "),
        ("text", "..\0"),
        ("concat(replace(text, 'x', '.'), '/b')", "x."),
    ],
)
def test_no_value_leads_up(text: str, value: str) -> None:
    ready = path(text)

    with pytest.raises(SendFailed, match="a value would lead to another path"):
        ready.fill({"event": {"text": value, "code": "."}})


# --- whatever the values are ------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="./\\%;?#@:&=+2eEfFcC5 \0\r\n", max_size=20),
    st.sampled_from(
        ["..", ".", "/", "//evil.example", "@evil.example", ":80", "%2F", "%2e%2e", "?q=1", "#f", "\ud800"]
    ),
)
TERMS = st.sampled_from([
    "text", "event._id", "profile.a", "upper(text)", "concat(text, profile.a)", "replaceAll(text, 'a', profile.a)",
    "substr(text, 1)", "trim(profile.a)", "'/'", "'x'", "'/v1/'", "'%20'", "'.'", "';'", "'@'", "':'",
])  # fmt: skip
URLS = st.sampled_from([
    "https://api.example.com", "https://api.example.com/", "https://api.example.com:8443/a/", "https://api.example.com/a",
])  # fmt: skip


@settings(max_examples=200, deadline=None)
@example(url="https://api.example.com", terms=["'/'", "text"], text="%2e%2e", attribute="a")
@given(url=URLS, terms=st.lists(TERMS, min_size=1, max_size=5), text=VALUES, attribute=VALUES)
def test_no_value_adds_a_step_or_a_query_or_chooses_the_host(
    url: str, terms: list[str], text: str, attribute: str
) -> None:
    try:
        compose = composer(
            Action(name="crm", url=url, path=" + ".join(terms), query={"q": "{{event.text}}"}, optional=["query.q"])
        )
    except BadInput as error:
        if "leads to another path" in str(error):  # the operator's own dots
            return
        raise
    plain = {"event": {"_id": "1", "text": "vv"}, "profile": {"a": "vv"}}
    try:
        found = compose({"event": {"_id": "1", "text": text}, "profile": {"a": attribute}}).url
        usual = compose(plain).url.replace("?q=vv", "")
    except SendFailed:
        return  # nothing leaves

    parts = urlsplit(found)
    assert f"{parts.scheme}://{parts.netloc}" == "/".join(url.split("/")[:3])
    assert parts.path.count("/") == urlsplit(usual).path.count("/")
    assert parts.fragment == ""
    assert parts.query == f"q={quote(text, safe='*-._', errors='replace').replace('%20', '+').replace('~', '%7E')}"
    assert not {".", ".."} & set(re.split(r"[/\\]", unquote(unquote(parts.path))))
    assert re.fullmatch(r"[\x21-\x7e]+", found)
