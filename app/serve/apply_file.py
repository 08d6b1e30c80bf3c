"""The apply file: its form, its variables, and what is wrong with one, place by place."""

import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from app.action import Action, Cap
from app.audience import Audience, Datastream, Destination
from app.credential import Credential
from app.errors import BadInput
from app.policy import Labels, Policy
from app.registration import KINDS, Registrations
from app.reply import Reply, ReplyText, by_form
from app.spec import Spec, faults
from app.stream import Stream
from app.webhook import NAME, Webhook

ReplyName = Annotated[str, Field(pattern=NAME)]
NamedReply = Annotated[ReplyText | Reply, by_form(ReplyText)]

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_OURS = "TEXTBACK_"


class ApplyFile(Spec):
    """What shall be registered. Whatever it does not name stays as it is."""

    credentials: list[Credential] = []
    webhooks: list[Webhook] = []
    #: name -> text or rich reply, for webhooks to answer with as "@name"
    replies: dict[ReplyName, NamedReply] = {}
    labels: list[Labels] = []
    policies: list[Policy] = []
    caps: list[Cap] = []
    actions: list[Action] = []
    streams: list[Stream] = []
    audiences: list[Audience] = []
    datastreams: list[Datastream] = []
    destinations: list[Destination] = []

    @property
    def others(self) -> Registrations:
        """What is neither credential, webhook nor reply."""
        return Registrations(
            **{kind.plural: {one.name: one for one in getattr(self, kind.plural)} for kind in KINDS.values()}
        )


def read_file(path: Path, environ: Mapping[str, str]) -> ApplyFile:
    """The file with `${NAME}` filled in from `environ`. Raises BadInput with one sentence per fault."""
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path.name} is not TOML: {error}") from None
    return parse(expand(tree, environ))


def parse(tree: dict[str, Any]) -> ApplyFile:
    """The tree, in form. Raises BadInput with one sentence per fault, which never shows a value."""
    try:
        wanted = ApplyFile.model_validate(tree)
    except ValidationError as error:
        told = (f"{_place(tree, fault.place)}: {fault.what}" for fault in faults(error, ApplyFile, tree))
        raise BadInput("\n".join(told)) from None
    names = Counter(
        [f"credential '{c.name}'" for c in wanted.credentials]
        + [f"webhook '{w.name}'" for w in wanted.webhooks]
        + [f"{kind.name} '{one.name}'" for kind in KINDS.values() for one in getattr(wanted, kind.plural)]
    )
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise BadInput(f"The file has {' and '.join(twice)} twice; one of each name is enough.")
    return wanted


def expand(tree: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The tree with every `${NAME}` in its texts replaced. Raises BadInput that names the variables without a value.

    An empty variable counts as none, because an empty secret would prove nothing; textback's own are never handed out.
    """
    missing: list[str] = []

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if name.upper().startswith(_OURS):
            raise BadInput(
                f"${{{name}}} is textback's own setting, which a file cannot have; use a variable of its own."
            )
        if not environ.get(name):
            missing.append(f"${{{name}}}")
        return environ.get(name, "")

    filled = _filled(tree, lambda text: _VARIABLE.sub(value_of, text))
    if missing:
        raise BadInput(f"{', '.join(dict.fromkeys(missing))} is not set in the environment; set it and apply again.")
    assert isinstance(filled, dict)
    return filled


def _filled(value: Any, fill: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, dict):
        return {name: _filled(part, fill) for name, part in value.items()}
    return [_filled(part, fill) for part in value] if isinstance(value, list) else value


def _place(tree: Any, loc: tuple[int | str, ...]) -> str:
    """`webhooks 'acme-inbound' keywords.opt_out.reply`: an entry by its name where it has one, else by its number."""
    if len(loc) < 2 or not isinstance(loc[1], int):
        return ".".join(map(str, loc))
    entry = tree[loc[0]][loc[1]]
    name = entry.get("name") if isinstance(entry, dict) else None
    shown = f"'{name}'" if isinstance(name, str) else f"number {loc[1] + 1}"
    return " ".join(part for part in (str(loc[0]), shown, ".".join(map(str, loc[2:]))) if part)
