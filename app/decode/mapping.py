"""From an item of a request to our event, by the rule of the provider file that tells this kind of event."""

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial

from app.address import normalise, split_channel
from app.decode.fields import Text, spelt, text_of
from app.decode.keys import Join, Key, fingerprint, hearing_account, joiner, stamp
from app.decode.paths import Frame
from app.decode.statuses import verdict_of
from app.decode.times import time_of
from app.errors import BadAddress, BadInput, Unreadable
from app.events import Category, Cause, Change, Event, Inbound, Piece, Receipt
from app.provider import EventRule, Provider
from app.webhook import Webhook

Read = Callable[[Frame], Event]
"""Raises Unreadable where a value is missing, BadAddress where the person cannot be decided."""

#: on these a person is a phone number; on others an identity, which is kept apart by the channel's name
_PHONE_CHANNELS = frozenset({"sms", "mms", "rcs"})
#: addresses are indexed, and an index takes no text of any length
LONGEST_CHANNEL = 40
#: the user data header of a short message counts its parts in one byte (GSM 03.40, 9.2.3.24.1)
MOST_PARTS = 255


def reader(rule: EventRule, provider: Provider, webhook: Webhook) -> Read | None:
    """How this rule's items are read; None: they are ignored."""
    match rule.kind:
        case "inbound":
            return _inbound(rule, provider, webhook)
        case "receipt":
            return _receipt(rule, provider, webhook)
        case "change":
            return _change(rule, provider, webhook)
    return None


def _inbound(rule: EventRule, provider: Provider, webhook: Webhook) -> Read:
    join = joiner("i", hearing_account(webhook))
    address_of, person = _address(provider, webhook), _person(rule)
    id_of, text, sender = _id(rule), text_of(rule.text), _sender(rule, provider, webhook, webhook.sender or "")
    time_at = time_of(rule.time, rule.time_format)
    category, answered = _category(rule), text_of(rule.answered)
    piece_of = _piece(rule, webhook) if rule.whole else None

    def read(frame: Frame) -> Inbound:
        given, channel = person(frame)
        if not given:
            raise Unreadable(f"an inbound message has no author at {spelt(rule.address)}")
        address, to, words = address_of(given), sender(frame), text(frame)
        provider_id, time = id_of(frame), time_at(frame)
        piece = piece_of(frame, address, to) if piece_of else None
        if piece is not None:
            key, repeats_within = _piece_key(join, provider_id, time, piece, address, to, words)
        elif provider_id:
            key, repeats_within = join(provider_id), None
        else:
            key, repeats_within = fingerprint(join, time, address, to, words)
        return Inbound(
            key, provider_id, address, to, words, channel, time, category(frame), bool(answered(frame)),
            repeats_within, piece,
        )  # fmt: skip

    return read


def _receipt(rule: EventRule, provider: Provider, webhook: Webhook) -> Read:
    join = joiner("r", webhook.ids_account)
    statuses = provider.statuses | {word.casefold(): status for word, status in webhook.statuses.items()}
    verdict = verdict_of(rule.status, statuses, provider.status_rules)
    address_of, person = _address(provider, webhook), _person(rule)
    id_of, reference_of, sender = _id(rule), text_of(rule.reference), _sender(rule, provider, webhook, "")
    time_at, code_of, error_of = time_of(rule.time, rule.time_format), text_of(rule.code), text_of(rule.error_text)
    part_of, parts_of = text_of(rule.part), text_of(rule.parts)
    blocked_codes = frozenset(provider.blocked_codes) | frozenset(webhook.blocked_codes)

    def read(frame: Frame) -> Receipt:
        message_id, reference = id_of(frame), reference_of(frame)
        if not message_id and not reference:
            places = " or ".join(filter(None, (spelt(rule.id), spelt(rule.reference))))
            raise Unreadable(f"a receipt has no message id at {places}")
        status, word, blocked = verdict(frame)
        code, time, part = code_of(frame), time_at(frame), part_of(frame)
        blocked = blocked or code in blocked_codes
        recipient = _recipient(person(frame)[0], address_of, blocked=blocked)
        key = join(message_id or f"ref:{reference}", recipient, word.casefold(), stamp(time), part)
        return Receipt(
            key, message_id, recipient, status, word, code, error_of(frame), sender(frame), time, reference, part,
            _number(parts_of(frame)) or 1, blocked,
        )  # fmt: skip

    return read


def _change(rule: EventRule, provider: Provider, webhook: Webhook) -> Read:
    join = joiner("c", hearing_account(webhook))
    address_of, person = _address(provider, webhook), _person(rule)
    id_of, time_at = _id(rule), time_of(rule.time, rule.time_format)
    state = rule.state
    assert state is not None

    def read(frame: Frame) -> Change:
        given, _ = person(frame)
        if not given:
            raise Unreadable(f"a change of consent has no person at {spelt(rule.address)}")
        address, time, event_id = address_of(given), time_at(frame), id_of(frame)
        if event_id:
            key, repeats_within = join(event_id), None
        else:
            key, repeats_within = fingerprint(join, time, address, state)
        return Change(
            key, address, state, Cause.PROVIDER_EVENT,
            provider_time=time, actor=provider.slug, repeats_within=repeats_within,
        )  # fmt: skip

    return read


def _id(rule: EventRule) -> Text:
    """The provider's id, of the form that the rule tells, where it tells one. Raises BadInput."""
    text = text_of(rule.id)
    if not rule.id_pattern:
        return text
    try:
        fits = re.compile(rule.id_pattern).fullmatch
    except re.error as error:
        raise BadInput(f"id_pattern '{rule.id_pattern}': {error}") from None

    def known(frame: Frame) -> str:
        found = text(frame)
        if fits(found) is None:
            raise Unreadable(f"the id at {spelt(rule.id)} is missing, or not of the form that the provider file tells")
        return found

    return known


def _address(provider: Provider, webhook: Webhook) -> Callable[[str], str]:
    return partial(normalise, region=webhook.region, international=webhook.is_international(provider.international))


def _person(rule: EventRule) -> Callable[[Frame], tuple[str, str]]:
    """(the person as given, the channel). The channel stands before the address, or in a field of its own."""
    address, channel_of = text_of(rule.address), text_of(rule.channel)

    def person(frame: Frame) -> tuple[str, str]:
        given = address(frame)
        named = split_channel(given)[0] if ":" in given else ""
        channel = named if named not in ("", "tel") else channel_of(frame).lower() or "sms"
        if len(channel) > LONGEST_CHANNEL:
            raise BadAddress(f"a channel's name has at most {LONGEST_CHANNEL} letters")
        if given and not named and channel not in _PHONE_CHANNELS:
            given = f"{channel}:{given}"
        return given, channel

    return person


def _sender(rule: EventRule, provider: Provider, webhook: Webhook, otherwise: str) -> Callable[[Frame], str]:
    """Our own number or agent, normalised as far as it can be."""
    text, normal = text_of(rule.sender), _address(provider, webhook)

    def sender(frame: Frame) -> str:
        given = (text(frame) or otherwise).strip()
        if not given:
            return ""
        try:
            return normal(given)
        except BadAddress:
            return given[:200]

    return sender


def _recipient(given: str, address_of: Callable[[str], str], *, blocked: bool) -> str:
    """The recipient as far as it can be told: a receipt counts for its message anyway. One that means an opt-out needs
    a decided address, so for it BadAddress is raised."""
    if blocked and not given:
        raise BadAddress("a receipt that means an opt-out has no recipient; look up who was sent this message")
    try:
        return address_of(given) if given else ""
    except BadAddress:
        if blocked:
            raise
        return given.strip()


def _category(rule: EventRule) -> Callable[[Frame], Category | None]:
    text = text_of(rule.category)
    categories = {word.casefold(): category for word, category in rule.categories.items()}

    def category(frame: Frame) -> Category | None:
        word = text(frame)
        return categories.get(word.casefold()) if word else None

    return category


def _number(text: str) -> int:
    """A count of parts, or which of them it is; 0 where it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0


def _piece(rule: EventRule, webhook: Webhook) -> Callable[[Frame, str, str], Piece | None]:
    """Which part of a long message an item is; None where it is all of it, or says what cannot be."""
    join: Join = joiner("p", hearing_account(webhook))
    whole_of, part_of, parts_of = text_of(rule.whole), text_of(rule.part), text_of(rule.parts)

    def piece(frame: Frame, address: str, sender: str) -> Piece | None:
        whole, number, total = whole_of(frame), _number(part_of(frame)), _number(parts_of(frame))
        if not whole or not 1 <= number <= total <= MOST_PARTS or total == 1:
            return None
        return Piece(join(whole, address, sender), number, total)

    return piece


def _piece_key(join: Join, provider_id: str, time: datetime | None, piece: Piece, *told: str) -> Key:
    """A provider may give all parts of a message one id, and parts may say the same."""
    number = str(piece.number)
    return Key(join(provider_id, number)) if provider_id else fingerprint(join, time, *told, piece.whole, number)
