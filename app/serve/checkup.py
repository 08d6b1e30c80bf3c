"""What `textback check` looks at before anybody calls.

Provider files, the database, what is registered, keywords, the clock; `app.serve.checkup_sending` looks at what leaves.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from app.errors import BadInput
from app.interpret import unreachable
from app.provider import Provider, load_provider
from app.record import diagnosis, evidence_key, facts, people, registry, schema
from app.record.database import Database
from app.record.registry import Registered
from app.record.spool import Spool
from app.scheme import ClientCertificateScheme, needs_secret, schemes_of, signs_url
from app.send import Destinations
from app.serve.apply import Catalogue, check_credential, check_feedback, faults, webhook_types
from app.serve.checkup_conditions import check_conditions
from app.serve.checkup_governance import check_governance
from app.serve.checkup_sending import check_calling, check_leaving, check_replies
from app.serve.finding import Finding, note, problem, warning
from app.serve.soundness import faults_of
from app.serve.terminal import open_vault
from app.serve.whole import whole
from app.settings import CONFIG_DIR, Settings
from app.switchboard import Switchboard, doubts
from app.webhook import Pack, Webhook, load_packs

#: two clocks of one house; a signature's window is minutes
_APART = timedelta(seconds=30)


def checkup(settings: Settings, database: Database) -> Iterator[Finding]:
    """Everything that can be found without calling anybody."""
    providers, faults = _providers(CONFIG_DIR / "providers")
    yield from faults
    destinations, fault = _destinations(settings)
    yield from fault
    standing = schema.standing(database.read_now(schema.revision))
    if standing == "older":
        yield problem("The database is empty or older than this textback; run: textback migrate")
        return
    if standing == "newer":
        yield note("The database has a newer revision than this textback, which works; upgrade this node when you can.")
    yield from _clock(database)
    yield from _spool(settings, database)
    if settings.evidence_key is None:
        yield warning(f"The ledger is not sealed, so it cannot prove that nobody changed it. {evidence_key.MISSING}")
    if (fact := database.read_now(facts.restored)) is not None:
        yield warning(facts.withheld(fact))
    try:
        database.read_now(people.require_key)
        packs, vault = load_packs(CONFIG_DIR), open_vault(settings)
        registered = database.read_now(lambda conn: registry.load(conn, vault))
    except BadInput as error:
        yield problem(str(error))
        return
    yield from _credentials(registered, Catalogue(providers, packs))
    yield from _leaving(registered, providers, settings, destinations)
    yield from check_replies(registered)
    yield from _webhooks(registered, Switchboard(providers, packs, settings), settings, packs)
    yield from _others(registered, destinations)
    yield from check_governance(registered.others, database)
    yield from check_conditions(registered)
    yield from _unconfirmed(registered, providers)


def _providers(folder: Path) -> tuple[dict[str, Provider], list[Finding]]:
    found, faults = {}, []
    for path in sorted(folder.glob("*.toml")):
        try:
            found[path.stem] = load_provider(path)
        except BadInput as error:
            faults.append(problem(f"Provider file {error}"))
    return found, faults


def _destinations(settings: Settings) -> tuple[Destinations | None, list[Finding]]:
    try:
        return Destinations(settings.allowed_private_destinations), []
    except BadInput as error:
        return None, [problem(str(error))]


def _clock(database: Database) -> Iterator[Finding]:
    now = datetime.now(UTC)
    theirs, newest = database.read_now(diagnosis.database_time), database.read_now(diagnosis.newest_request)
    if theirs is not None and abs(theirs - now) > _APART:
        apart = abs((theirs - now).total_seconds())
        yield problem(f"The clocks of this machine and of the database are {apart:.0f} s apart; set both by NTP.")
    if newest is not None and newest > now + _APART:
        yield problem(
            f"The newest stored request is from the future ({newest}); this machine's clock is wrong, or was."
        )


def _spool(settings: Settings, database: Database) -> Iterator[Finding]:
    """Where requests go while PostgreSQL is away."""
    if database.dialect == "sqlite":
        return
    folder = Path(settings.spool_folder)
    try:
        Spool.own(folder, settings.spool_limit).close()
    except BadInput as error:
        yield problem(str(error))
        return
    if shutil.disk_usage(folder).free < settings.spool_limit:
        yield warning(
            f"The disk of {folder} has less room than TEXTBACK_SPOOL_LIMIT ({settings.spool_limit:,} bytes); while"
            " PostgreSQL is away requests will be answered with 503 when it is full"
        )


def _credentials(registered: Registered, catalogue: Catalogue) -> Iterator[Finding]:
    yield from map(problem, registered.broken_credentials.values())
    types = webhook_types(registered)
    for name, credential in registered.credentials.items():
        checks = partial(check_credential, catalogue, credential), partial(check_feedback, credential, types)
        for check in checks:
            yield from map(problem, faults("credential", name, check))


def _leaving(
    registered: Registered, providers: dict[str, Provider], settings: Settings, destinations: Destinations | None
) -> Iterator[Finding]:
    for credential in registered.credentials.values():
        provider = providers.get(credential.provider)
        with suppress(BadInput):  # it cannot send at all, and that is a problem by itself
            yield from check_leaving(credential, provider, registered, settings, destinations)


def _webhooks(
    registered: Registered, switchboard: Switchboard, settings: Settings, packs: dict[str, Pack]
) -> Iterator[Finding]:
    switchboard.connect(registered)
    for reason in switchboard.broken.values():
        yield problem(reason)
    for line in switchboard.by_name.values():
        yield from _webhook(line.webhook, line.provider, settings)
        yield from map(warning, unreachable(line.webhook, packs))


def _webhook(webhook: Webhook, provider: Provider, settings: Settings) -> Iterator[Finding]:
    scheme = webhook.scheme or provider.signature
    assert scheme is not None, "a line without a scheme is broken"
    if not webhook.secrets and needs_secret(scheme):
        yield problem(
            f"webhook '{webhook.name}' has no secret, which signature scheme {scheme.type} needs; until it is set,"
            " every request is answered with 503"
        )
    yield from map(warning, doubts(webhook, provider))
    if not settings.trusted_proxies and any(isinstance(one, ClientCertificateScheme) for one in schemes_of(scheme)):
        yield problem(
            f"webhook '{webhook.name}': a client certificate counts where a proxy in TEXTBACK_TRUSTED_PROXIES tells"
            " of it, and none is set; until then every request is refused"
        )
    if signs_url(scheme) and settings.public_url is None:
        yield warning(
            f"webhook '{webhook.name}': the signature covers the public URL, and TEXTBACK_PUBLIC_URL is not set;"
            " behind a proxy set it to what the provider calls"
        )
    if webhook.type != "feedback" and webhook.credential is None:
        yield warning(f"webhook '{webhook.name}' has no credential, so nobody is answered, not even a STOP")


def _others(registered: Registered, destinations: Destinations | None) -> Iterator[Finding]:
    """Actions, policies and the other kinds: what cannot be used, what does not fit together, whom nobody may call."""
    yield from map(problem, registered.others.broken.values())
    yield from map(problem, faults_of(whole(registered)))
    if destinations is None:
        return
    for action in registered.others.actions.values():
        with suppress(BadInput):  # a url that is none is a problem by itself
            yield from check_calling(action, destinations)


def _unconfirmed(registered: Registered, providers: dict[str, Provider]) -> Iterator[Finding]:
    """Whether somebody has found out and settled it in a registration, nobody can tell but that person."""
    users: dict[str, list[str]] = {}
    for name, credential in registered.credentials.items():
        users.setdefault(credential.provider, []).append(f"credential '{name}'")
    for entry in registered.webhooks:
        users.setdefault(entry.webhook.provider, []).append(f"webhook '{entry.webhook.name}'")
    for slug, names in users.items():
        provider = providers.get(slug)
        for sentence in provider.unconfirmed if provider else ():
            yield note(f"{', '.join(names)}: {sentence}")
