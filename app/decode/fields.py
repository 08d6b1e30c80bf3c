"""The values of a provider file, compiled once into functions over the items of a request."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import takewhile

from app.decode.conditions import Test, condition_of
from app.decode.paths import Frame, Get, as_text, value_at
from app.decode.wrapping import unwrapped
from app.errors import Unreadable
from app.expression import expression
from app.provider import Alternative, Value

Text = Callable[[Frame], str]
"""The text of a field; empty where there is none. Raises Unreadable."""

Finish = Callable[[str], str]
"""From what stands at a path to the value."""

#: indexes that `{i}` takes; no message has more parts
MOST_INDEXES = 255


def text_of(value: Value | None) -> Text:
    """The first alternative that has a value. Raises BadInput."""
    texts = texts_of(value)
    if len(texts) < 2:
        return texts[0] if texts else _constant("")

    def text(frame: Frame) -> str:
        for alternative in texts:
            found = alternative(frame)
            if found:
                return found
        return ""

    return text


def texts_of(value: Value | None) -> list[Text]:
    """Each alternative for itself. Raises BadInput."""
    return [_alternative(one) for one in listed(value)]


def spelt(value: Value | None) -> str:
    """Where a value is looked for, for people: `ButtonText or Body`."""
    return " or ".join(spelt_one(one) for one in listed(value))


def spelt_one(one: str | Alternative) -> str:
    """Where an alternative looks, for people."""
    return one if isinstance(one, str) else one.path or one.expr or repr(one.const)


def listed(value: Value | None) -> list[str | Alternative]:
    """The alternatives of a value."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _alternative(one: str | Alternative) -> Text:
    if isinstance(one, str):
        return _plain(value_at(one))
    text = _source(one, _finish(one))
    text = _guarded(text, condition_of(one.when).holds) if one.when else text
    return _among(value_at(one.among), text, one.join) if one.among else text


def _source(one: Alternative, finish: Finish | None) -> Text:
    if one.join is not None and "{i}" in one.path:
        return _indexed(one.path, one.join, finish or str)
    text = _constant(one.const) if one.const else _worked_out(one.expr) if one.expr else _plain(value_at(one.path))
    return text if finish is None else _finished(text, finish)


def _plain(get: Get) -> Text:
    def text(frame: Frame) -> str:
        found = get(frame)
        return found if type(found) is str else as_text(found)

    return text


def _constant(const: str) -> Text:
    return lambda _: const


def _worked_out(expr: str) -> Text:
    work_out = expression(expr)
    return lambda frame: as_text(work_out(frame.item))


def _indexed(path: str, join: str, finish: Finish) -> Text:
    """The values at `text_0`, `text_1`… or `text_1`, `text_2`…, up to the first that is not there."""
    gets = [value_at(path.replace("{i}", str(index))) for index in range(MOST_INDEXES + 1)]

    def text(frame: Frame) -> str:
        start = 0 if gets[0](frame) is not None else 1
        present = takewhile(lambda value: value is not None, (get(frame) for get in gets[start:]))
        return _joined((finish(as_text(value)) for value in present), join)

    return text


def _joined(texts: Iterable[str], join: str) -> str:
    return join.join(filter(None, texts))


def _guarded(text: Text, holds: Test) -> Text:
    return lambda frame: text(frame) if holds(frame) else ""


def _among(array: Get, text: Text, join: str | None) -> Text:
    def among(frame: Frame) -> str:
        items = array(frame)
        texts = (text(Frame(item, frame)) for item in (items if type(items) is list else ()))
        return next(filter(None, texts), "") if join is None else _joined(texts, join)

    return among


def _finished(text: Text, finish: Finish) -> Text:
    return lambda frame: finish(text(frame))


def _finish(one: Alternative) -> Finish | None:
    """Affixes cut off, then what means "none" left out, then unwrapped; None: there is nothing to be done."""
    steps: list[Finish] = []
    if one.prefix or one.suffix:
        steps.append(lambda text: text.removeprefix(one.prefix).removesuffix(one.suffix))
    if one.none:
        steps.append(partial(_unless, frozenset(one.none)))
    if one.wrapping:
        steps.append(partial(_unwrapped, one))
    return partial(_through, steps) if len(steps) > 1 else steps[0] if steps else None


def _through(steps: list[Finish], text: str) -> str:
    for step in steps:
        text = step(text)
    return text


def _unless(none: frozenset[str], text: str) -> str:
    return "" if text in none else text


def _unwrapped(one: Alternative, text: str) -> str:
    """What cannot be unwrapped is no empty text: a STOP would be lost in it."""
    assert one.wrapping
    try:
        return unwrapped(text, one.wrapping, one.charset)
    except ValueError:
        raise Unreadable(f"the text at {spelt_one(one)} is no {one.wrapping}") from None
