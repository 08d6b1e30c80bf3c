"""What can go wrong. The tree:

TextbackError
  Refused           the caller did not prove who it is                      -> 401
    WrongWord       a handshake showed another word than the webhook's
  NotReady          something of ours is missing or away; try again later   -> 503
    StoreUnavailable
      Overloaded      more waits for the database than it may
    KeyWanted       a provider's public key must be fetched first
  BadAddress        no address can be decided; goes to the work list
  Unreadable        an item or a request does not have the form its provider file tells
    TookTooLong     an expression was stopped by the clock; another time it may end
  BadInput          what an operator gave; the text names the cause and the mend
  SendFailed        a provider did not take a message
"""


class TextbackError(Exception):
    """Something that textback expects may go wrong."""


class Refused(TextbackError):
    """The caller did not prove who it is. The text is for the operator's doctor, never for the caller."""


class WrongWord(Refused):
    """A handshake showed another word than the webhook's; it may be the provider's real one, and is not kept."""


class NotReady(TextbackError):
    """Something of ours is missing or away; the caller shall try again later."""


class StoreUnavailable(NotReady):
    """The database did not take the write; nothing was acknowledged."""


class Overloaded(StoreUnavailable):
    """More waits for the database than it may; nothing was acknowledged."""


class KeyWanted(NotReady):
    """A provider's certificate or key set is not at hand; it can be fetched at `url`, which is allow-listed."""

    def __init__(self, url: str) -> None:
        super().__init__("a provider's public key could not be fetched")
        self.url = url


class BadAddress(TextbackError):
    """No address can be decided from what was given."""


class Unreadable(TextbackError):
    """An item or a request does not have the form its provider file tells. The text names the path."""


class TookTooLong(Unreadable):
    """An expression was stopped by the clock: where the machine has less to do, the same may end in time."""


class BadInput(TextbackError):
    """What an operator gave cannot be used. The text names the cause and the mend."""


class SendFailed(TextbackError):
    """A provider did not take a message.

    `permanent`: trying again cannot help. `departed`: the request had left, so the provider may have acted on it.
    `blocked`: the provider says that the person has opted out. `retry_after`: seconds, where it asked for them.
    """

    def __init__(
        self,
        reason: str,
        *,
        permanent: bool = False,
        departed: bool = False,
        blocked: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.departed = departed
        self.blocked = blocked
        self.retry_after = retry_after
