"""One look-up, from what is asked to its answer."""

from app.serve.edge import answering
from app.serve.edge.answering import Answer
from app.serve.edge.asking import Asked
from app.serve.edge.coming import Coming
from app.serve.edge.datastreams import ReadyDatastream
from app.serve.edge.identity import minted
from app.serve.edge.person import NOBODY, Found, People

_ERASED = b',"warnings":[{"title":"Not linked","detail":"This person was erased on request, so no browser is linked."}]'


async def looked_up(request: Coming, datastream: ReadyDatastream, asked: Asked, people: People) -> tuple[Answer, str]:
    """The answer, and its outcome for the metrics. A server that names a person and a browser links the two."""
    found = await _found(asked, people)
    linked = not (asked.address and asked.ecid) or await people.link(asked.ecid, asked.address)
    ecid = asked.ecid or minted()
    pull = await _pull(request, datastream, found, people)
    handles = [answering.state_store(datastream.cookie, ecid), answering.activation_pull(pull)]
    if asked.wants_identity or not asked.ecid:
        handles.insert(0, answering.identity_result(ecid))
    return answering.success(request.asked_as, handles, b"" if linked else _ERASED), _outcome(asked, found)


async def _found(asked: Asked, people: People) -> Found:
    """Of a person who is named the browser does not count, for it may be another's."""
    if asked.address:
        return await people.of_person(asked.address)
    return await people.of_browser(asked.ecid) if asked.ecid else NOBODY


async def _pull(request: Coming, datastream: ReadyDatastream, found: Found, people: People) -> bytes:
    allowed = await people.allowed(datastream, found.address) if datastream.governs else None
    if request.version == "v2" and datastream.has_attributes and found.address:
        return datastream.told(found.audiences, allowed, await people.attributes(found.address))
    return datastream.pull(found.audiences, allowed)


def _outcome(asked: Asked, found: Found) -> str:
    if found.address:
        return "known"
    return "unknown" if asked.ecid else "new"
