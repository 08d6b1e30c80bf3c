"""Any expression over the fields, and any labels and policies over them: what the property tests of governance draw."""

from collections.abc import Collection
from typing import Any

import orjson
from hypothesis import strategies as st

from app.errors import BadInput, TookTooLong, Unreadable
from app.expression import expression
from app.policy import Policy

_NAMES = ("email", "phone", "city", "loyalty.tier")
_OTHERS = (
    "event._id",
    "event.text",
    "event.normal",
    "event.keyword",
    "consent.state",
    "consent.may_send",
    "event.old_state",
    "event.new_state",
)
FIELDS = (*_OTHERS, *(f"profile.{name}" for name in _NAMES))
#: long enough that no expression makes one by chance
SECRETS = {field: f"SECRET-{number}-of-{field[::-1]}" for number, field in enumerate(FIELDS)}


def everything(changed: Collection[str] = ()) -> dict[str, Any]:
    """Each field with its own secret; those that are changed, with another one."""
    found: dict[str, Any] = {"event": {}, "profile": {}, "consent": {}}
    for field, secret in SECRETS.items():
        root, _, name = field.partition(".")
        found[root][name] = f"another {secret}" if field in changed else secret
    return found | {"_id": found["event"]["_id"]}


@st.composite
def names(draw: st.DrawFn) -> str:
    """An expression for a field's name or a root: as it is, quoted, or put together out of pieces."""
    name = draw(st.sampled_from([*(field.partition(".")[2] for field in FIELDS), "profile", "event", "consent"]))
    cut = draw(st.integers(0, len(name)))
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in name)
    forms = [f'"{name}"', f"'{name}'", f'"{escaped}"', f'("{name[:cut]}" & "{name[cut:]}")']
    forms += [f"$join(['{name[:cut]}', '{name[cut:]}'])", f"$substring('x{name}', 1)", f"$lowercase('{name.upper()}')"]
    return draw(st.sampled_from(forms))


@st.composite
def steps(draw: st.DrawFn) -> str:
    """A path to something, plainly named."""
    root, name = draw(st.sampled_from(["profile", "event", "consent", "`profile`", "$$", "$"])), draw(names())
    plain = draw(st.sampled_from(["email", "`phone`", '"text"', "city", "state", "_id", "*", "**", "`loyalty.tier`"]))
    forms = [f"{root}.{plain}", f"{root}.({plain})", f"{root}.$lookup($, {name})", f"$lookup({root}, {name})"]
    forms += [f"$lookup($lookup($$, {name}), {draw(names())})", f"{root}.($lookup({name}))", f"{root}.({name})"]
    forms += [f"{root}.city.%.{plain}", f"({root}).{plain}", f"{root}[{plain} != 'x'].{plain}", f"{root}.{plain}[0]"]
    forms += [f"{root}{{'x': {plain}}}", f"($r := {root}; $r.{plain})", f"{root}^({plain})", "_id", root, plain]
    return draw(st.sampled_from(forms))


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """An expression around another."""
    shapes = [
        "$string({0})", "$keys({0})", "$merge([{0}, {{'a': 1}}])", "$spread({0})", "{0} ~> $string", "[{0}]",
        "$sift({0}, function($v, $k) {{ $k != 'x' }})", "$each({0}, function($v, $k) {{ $k & $v }})",
        "{{'a': {0}}}", "({0}) & 'x'", "$map([{0}], $string)", "$reduce([{0}, 'x'], function($a, $b) {{ $a & $b }})",
        "profile.($sift(function($v) {{ true }}))", "$sift(function($v, $k) {{ $k = 'profile' or {0} = 1 }})",
        "$base64encode($string({0}))", "$reverse($split($string({0}), ''))", "$uppercase($string({0}))",
        "$replace($string({0}), /(.)/, '$1')", "$filter(**, function($v) {{ $v != {0} }})", "$exists({0}) ? $ : $$",
        "({0}; $string())", "$zip([{0}], [1])", "$ ~> |$|{{'more': {0}}}|", "($f := $lookup; $f({0}, 'email'))",
        "(function($o)<o-:o>{{ $o }}())", "$keys($$).$lookup($$, $)", "$join($string($each($$, $string)), {0})",
    ]  # fmt: skip
    return st.builds(lambda shape, one: shape.format(one), st.sampled_from(shapes), inner)


expressions = st.recursive(steps(), grown, max_leaves=4)
labels_of_some = st.dictionaries(
    st.sampled_from(FIELDS), st.lists(st.sampled_from(["C2", "I1", "S1", "own"]), min_size=1, max_size=3), max_size=5
)
uses = st.lists(st.sampled_from(["advertising", "analytics"]), max_size=2)
policies = st.lists(
    st.builds(
        Policy, name=st.sampled_from(["a", "b"]), marketing_actions=uses,
        deny=st.lists(st.sampled_from(["C2", "I1", "S1", "own", "C12"]), min_size=1, max_size=3),
    ),
    max_size=3,
)  # fmt: skip


#: on a machine that has much to do, the clock stops what it would not stop another time
LATE = "late"


def is_the_same(text: str, fields: dict[str, Any], others: dict[str, Any]) -> bool:
    """Whether an expression yields the same of both, as far as the clock lets us see."""
    both = {yielded(text, fields), yielded(text, others)} - {LATE}
    return len(both) < 2


def yielded(text: str, fields: dict[str, Any]) -> str:
    """What an expression yields, as JSON; what went wrong where it yields nothing."""
    try:
        return orjson.dumps(expression(text)(fields)).decode()
    except TookTooLong:
        return LATE
    except (BadInput, Unreadable) as error:
        return str(error)
