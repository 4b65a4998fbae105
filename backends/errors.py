"""Errors sorted by what the caller can do.

BackendError
|-- Unreachable       the endpoint does not answer: retry later, keep the last known picture
|-- Throttled         asked too often: retry after `retry_after` seconds
|-- AuthNeeded        credentials missing, wrong or expired: ask the user, do not retry
|-- HostKeyMismatch   the other side is not who it was: never retry, tell the user
|-- Denied            known, but not allowed
|-- NotFound          the object is gone
|-- Conflict          the name is taken, or the state forbids it
|-- QuotaExceeded     no room: quota, disk, memory
|-- Unsupported       this platform cannot do that
|-- Invalid           the request itself is wrong
|-- OutcomeUnknown    a change timed out: read again, never blindly repeat
`-- Cancelled         the user stopped it
"""

from __future__ import annotations


class BackendError(Exception):
    """Base of all errors that a driver may raise.

    Parameters: `message` is one sentence for people; `object_name` what failed; `cure` what helps.
    """

    retryable = False

    def __init__(self, message: str, *, object_name: str = "", cure: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.object_name = object_name
        self.cure = cure
        self.field = field

    def __str__(self) -> str:
        return self.message


class Unreachable(BackendError):
    retryable = True


class Throttled(BackendError):
    retryable = True

    def __init__(self, message: str, *, retry_after: float = 1.0, object_name: str = "", cure: str = "") -> None:
        super().__init__(message, object_name=object_name, cure=cure)
        self.retry_after = retry_after


class AuthNeeded(BackendError):
    pass


class HostKeyMismatch(BackendError):
    pass


class Denied(BackendError):
    pass


class NotFound(BackendError):
    pass


class Conflict(BackendError):
    pass


class QuotaExceeded(BackendError):
    pass


class Unsupported(BackendError):
    pass


class Invalid(BackendError):
    pass


class OutcomeUnknown(BackendError):
    pass


class Cancelled(BackendError):
    pass
