"""The dry run of the policies, for admins; policies themselves are registrations like others, see `kinds`."""

from functools import partial

from app.record.tokens import Scope
from app.serve.operation import Call, Operation, Params
from app.serve.policy_trial import Trial, WantedTrial, tried


async def attempt(call: Call[Params, WantedTrial]) -> Trial:
    """Which fields and which people would be left out; nothing is written or sent."""
    parts = call.parts
    act = partial(tried, vault=parts.vault, unknown=parts.settings.unknown_consent, wanted=call.body)
    return await parts.database.read(act)


OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/policies/try",
        summary="Which fields and which people policies would leave out; nothing is written or sent",
        handler=attempt,
        scope=Scope.ADMIN,
        answer=Trial,
        body=WantedTrial,
    ),
)
