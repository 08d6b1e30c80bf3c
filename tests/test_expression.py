"""The expression language: what it finds, and that nothing in it or in the data can hold the process up."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import BadInput, TookTooLong, Unreadable
from app.expression import LARGEST_INPUT, LONGEST, expression

ORDER = {
    "name": "alice",
    "email": "alice@example.com",
    "Order Nr": {"a-b": "z"},
    "items": [{"p": 2, "q": 8}, {"p": 4, "q": 4}],
    "tags": ["a", "b"],
    "near": 2**53 - 1,
    "id": 2**53 + 1,
    "longer": 12345678901234567890,
    "long": "a" * 20_000 + "!",
}

MUCH = {
    "many": list(range(20_000)),
    "wide": {f"name {n}": 1 for n in range(9_000)},
    "each": [{f"name {n}": 1} for n in range(9_000)],
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$uppercase(name) & '!'", "ALICE!"),
        ("$substringBefore(email, '@')", "alice"),
        ("$substringAfter(email, '@')", "example.com"),
        ("$replace(email, 'example', 'a')", "alice@a.com"),
        ("$replace(email, /[a-z]+@/, '')", "example.com"),
        ("/a+/[$replace(name, 'a', 'b') = 'blice'].x", None),
        ("$replace('265 USD', /([0-9]+) USD/, '$$$1')", "$265"),
        ("tags.$replace($, 'a', 'c')", ["c", "b"]),
        ("name ~> $replace('a', 'o') ~> $substring(0, 2)", "ol"),
        ("$match('ab12', /([a-z]+)([0-9]+)/).groups[1]", "12"),
        ("$map([1, 2, 3], function($x) { $x * 2 })", [2, 4, 6]),
        ("$sum(items.(p * q))", 32),
        ("items[p > 2].q", 4),
        ("items.%.name", ["alice", "alice"]),
        ("`Order Nr`.`a-b`", "z"),
        ("{'n': name, 'tags': tags}", {"n": "alice", "tags": ["a", "b"]}),
        ("name = 'alice' ? 'y' : 'n'", "y"),
        ("missing.path", None),
        ("missing & 'x'", "x"),
        ("null", None),
        # ranges, and what only looks like one
        ("[1..3]", [1, 2, 3]),
        ("[3..1]", []),
        ("[1..1]", [1]),
        ("[missing..2]", []),
        ("[0..1, 5, 8..$count(tags) + 7]", [0, 1, 5, 8, 9]),
        ("[[1..2], [[1..3][0]..2]]", [[1, 2], [1, 2]]),
        ("[([0..3].($ * 2))[1]..5]", [2, 3, 4, 5]),
        ("[items[0].q / 4..8 / 2]", [2, 3, 4]),
        ("items[[0..0]].q", 8),
        ("[name ? 1 : 2..3]", [1, 2, 3]),
        ("($range := 2; [1..$range])", [1, 2]),
        ("$map([1..2], function($i) { [1..$i] })", [[1], [1, 2]]),
        ("/* .. */ $match(email, /.../, 1).match & '..' & `..`", "ali.."),
        ("$match(email, /[.](..)/).groups", ["co"]),
        ("$count([0..9999])", 10_000),
        ("$distinct([2, 1, 2, {'a': 1}, {'a': 1}])", [2, 1, {"a": 1}]),
        ("$distinct(tags)", ["a", "b"]),
        ("tags ~> $distinct", ["a", "b"]),
        ("$distinct(missing)", None),
        ("$keys(items)", ["p", "q"]),
        ("items.$keys()", ["p", "q", "p", "q"]),
        ("$map(items, $keys)", [["p", "q"], ["p", "q"]]),
        ("$keys(name)", None),
        ("$toMillis('20260102 15:04', '[Y0001][M01][D01] [H01]:[m01]')", 1_767_366_240_000),
        ("$length($now())", 24),
        ("$length('😀')", 1),
        ("$greeting & ' ' & name", "Hello alice"),
        # beyond 2^53 a number of JSONata loses digits, so it is a text
        ("near", 2**53 - 1),
        ("id", "9007199254740993"),
        ("'x' & id", "x9007199254740993"),
        ("{'id': longer}", {"id": "12345678901234567890"}),
    ],
)
def test_an_expression_finds_what_jsonata_finds(text: str, found: Any) -> None:
    value = expression(text)(ORDER, {"greeting": "Hello"})

    assert (value, type(value)) == (found, type(found))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 +", r"Unexpected end of expression \(character 4\)"),
        ("items[", r"before end of expression \(character 7\)"),
        ("", "Unexpected end"),
        ("$upcase(name)", "at character 9: what is called is no function"),
        ("uppercase(name)", "with \\$ before it"),
        ("name ~> $foo", "no function"),
        ("$eval('1')", r"there is no \$eval"),
        ("name ~> $eval", r"there is no \$eval"),
        ("name & '\ud800'", "surrogate"),
        ("/(/", "regular expression"),
        ("1" + " + 1" * LONGEST, "more than 4000"),
        ("(" * 2_000 + "1" + ")" * 2_000 , "more than|deeply"),
        ("-" * 3_999 + "1", "deeply"),
    ],
)  # fmt: skip
def test_what_is_no_expression_is_refused_before_it_is_used(text: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        expression(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("($f := function($x) { 1 + $f($x) }; $f(1))", id="endless recursion"),
        pytest.param("($f := function($x) { $f($x + 1) }; $f(1))", id="endless tail recursion"),
        pytest.param("$pad('x', 1000000000)", id="a long text"),
        pytest.param("($f := function($s, $n) { $n = 0 ? $s : $f($s & $s, $n - 1) }; $f('x', 40))", id="doubling"),
        pytest.param(
            "($f := function($s, $n) { $n = 0 ? $s : $f($append($s, $s), $n - 1) }; $f([1], 40))", id="doubling a list"
        ),
        pytest.param(
            "($f := function($o, $n) { $n = 0 ? $o : $f({'a': $o, 'b': $o}, $n - 1) }; $f({}, 40))", id="tree"
        ),
        pytest.param("[1..1000000000]", id="a long range"),
        pytest.param("$map([1..9999], function($x) { $map([1..9999], function($y) { $x * $y }) })", id="nested loops"),
        pytest.param("$contains(long, /^(a+)+$/)", id="nested quantifiers"),
        pytest.param("$contains(long, /^(a|a)*$/)", id="equal alternatives"),
        pytest.param("$contains(long, /a*a*a*a*a*a*b/)", id="many stars"),
        pytest.param(r"$contains(long, /(a*)\1\1b/)", id="backward reference"),
        pytest.param("$replace(long, 'a', long)", id="replacing with much"),
        pytest.param("($r := $replace; $r(long, 'a', long))", id="replacing under another name"),
        pytest.param("$join($split(long, ''), long)", id="joining with much"),
        pytest.param("$fromMillis(1, '[Y,1000000000-1000000000]')", id="a wide date"),
        pytest.param("$formatNumber(1, $pad('', 1000000, '0'))", id="a wide number"),
        pytest.param("($f := function($o, $n) { $n = 0 ? $o : $f([[$o]], $n - 1) }; $f(1, 5000))", id="deep nesting"),
        pytest.param("$ ~> |$|{'x': $}|", id="an object in itself"),
        pytest.param("$error('boom ' & name)", id="a failure of its own"),
    ],
)
def test_a_runaway_expression_is_stopped(text: str) -> None:
    compiled = expression(text)

    with pytest.raises(Unreadable, match="the expression fails"):
        compiled(ORDER)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("$count([0..10000])", id="a range that is just too long"),
        pytest.param("[near - 9007199254740991..$length(long) * 400]", id="a range of the data's length"),
        pytest.param("[1, [1..2][0]..1000000, 2]", id="a long range between others"),
        pytest.param("$distinct(many)", id="what is different of much"),
        pytest.param("($d := $distinct; $d(many))", id="what is different, under another name"),
        pytest.param("$keys(wide)", id="the names of much"),
        pytest.param("$keys(each)", id="the names of many"),
    ],
)
def test_what_would_last_or_take_much_memory_is_not_begun(text: str) -> None:
    compiled = expression(text)

    with pytest.raises(Unreadable, match="it would make too much"):
        compiled(ORDER | MUCH)


def test_what_the_clock_stops_is_told_from_what_never_ends() -> None:
    with pytest.raises(TookTooLong, match="it takes too long"):
        expression("$contains(long, /^(a+)+$/)")(ORDER)
    with pytest.raises(Unreadable, match="too many steps") as caught:
        expression("($f := function($x) { $f($x + 1) }; $f(1))")(ORDER)

    assert not isinstance(caught.value, TookTooLong)


def test_a_bug_of_the_engine_ends_the_expression_alone() -> None:
    compiled = expression("$formatNumber(p, '0.' & $pad('', digits, '0'))")

    with pytest.raises(Unreadable, match="its engine gives up on it"):
        compiled({"p": 2, "digits": 100_000})
    assert compiled({"p": 2, "digits": 2}) == "2.00"


def test_a_failure_quotes_nothing_of_the_data() -> None:
    with pytest.raises(Unreadable) as caught:
        expression("$number(name)")(ORDER)

    assert str(caught.value) == "the expression fails at character 9: a text is not a number"


@pytest.mark.parametrize("data", [{"a": "x" * LARGEST_INPUT}, {1: 2}, {"a": object()}, {"a": {2**60, 1}}])
def test_what_is_too_large_or_no_json_is_not_read(data: Any) -> None:
    with pytest.raises(Unreadable, match="what the expression reads"):
        expression("$string(a)")(data)


@pytest.mark.parametrize("levels", [100, 100_000])
def test_what_is_nested_without_end_is_not_read(levels: int) -> None:
    data: Any = 2**60
    for _ in range(levels):
        data = {"a": [data]}

    with pytest.raises(Unreadable, match="nested too deeply"):
        expression("a")(data)


def test_beside_a_long_integer_everything_else_stays_as_it_is() -> None:
    data = {"id": -(2**53), "list": [True, None, 1.5, -1, "x"], "object": {"a": {}}}

    assert expression("$$")(data) == {**data, "id": "-9007199254740992"}


def test_half_of_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert expression("a & '!'")({"a": "\ud800"}) == "?!"


def test_one_expression_serves_many_threads() -> None:
    compiled = expression("$join($map(list, function($x) { $string($x) }), ',')")
    lists = [list(range(n, n + 50)) for n in range(200)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda numbers: compiled({"list": numbers}), lists))

    assert found == [",".join(map(str, numbers)) for numbers in lists]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4).map(lambda items: {"a": items}))
def test_data_comes_through_unchanged(data: dict[str, Any]) -> None:
    assert expression("{'found': $$}")(data) == {"found": data}


SNIPPETS = st.sampled_from(
    ["$", "$$", "name", "items", "(", ")", "[", "]", "{", "}", ".", "*", "**", "%", "/a+/", "'x'", "1", "-", "..", ":=",
     "$f", "function($f)", "$map", "$reduce", "$replace", "$split", "$sort", "$string", "$each", "$sift", ",", ";", "|",
     "~>", "?", ":", "&", "=", "^(", "@$f", "#$f", "in", "and", "$match", "$number", "$formatNumber", "$toMillis"]
)  # fmt: skip


@given(st.lists(SNIPPETS, max_size=14))
def test_whatever_is_written_is_refused_or_ends(snippets: list[str]) -> None:
    with suppress(BadInput, Unreadable):
        expression(" ".join(snippets))(ORDER)
