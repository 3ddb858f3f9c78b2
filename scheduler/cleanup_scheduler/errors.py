"""Every error of ours, in one tree. Foreign exceptions stop at the border of the package that knows them.

::

    CleanupSchedulerError
    ├── UsageError                 the input is wrong: one line, exit code 2
    │   ├── SettingsError          a key, value or file of the configuration
    │   └── UnknownName            no such level, kind, suite, test, run or resource
    ├── LedgerError
    │   ├── LedgerUnavailable      retryable: out of reach, locked, restarting; exit code 4
    │   ├── LedgerNotMigrated      an operator runs `cleanup-scheduler migrate`; exit code 2
    │   ├── LedgerTooNew           an operator upgrades this program; exit code 2
    │   ├── EventRefused           the event is malformed or too large; its producer must change it
    │   └── ClaimLost              another worker holds the claim now; this one stops acting on it
    ├── ClusterError
    │   ├── ClusterUnavailable     retryable: no connection, 5xx, 429 (``retry_after_seconds``); exit code 4
    │   ├── CredentialsRefused     401: new credentials are needed
    │   ├── PermissionMissing      403: names the verb and the resource that the Role lacks
    │   ├── NotFound               404: the object is not there
    │   ├── Conflict               409: look again before acting
    │   ├── Refused                a 4xx that trying again will not change
    │   └── BadAnswer              the cluster's answer cannot be understood
    └── BrakeApplied               a pass would delete more than allowed; a person decides; exit code 3

Whether an error may be retried is its type (:attr:`CleanupSchedulerError.retryable`), not a guess.
"""

from __future__ import annotations

from typing import ClassVar


class CleanupSchedulerError(Exception):
    """Base of all. ``hint`` says what to do, ``exit_code`` what a command exits with."""

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(CleanupSchedulerError):
    """What somebody typed or configured is wrong."""

    exit_code = 2


class SettingsError(UsageError):
    """A configuration key, value or file is wrong; the message names where."""


class UnknownName(UsageError):
    """Something was named that does not exist."""


class LedgerError(CleanupSchedulerError):
    """The ledger cannot do what was asked."""


class LedgerUnavailable(LedgerError):
    """The ledger is out of reach for now: not started, restarting, locked, its disk full."""

    exit_code = 4
    retryable = True


class LedgerNotMigrated(LedgerError):
    """The database has no schema yet or an old one."""

    exit_code = 2


class LedgerTooNew(LedgerError):
    """The database was migrated by a newer program than this one."""

    exit_code = 2


class EventRefused(LedgerError):
    """An event is malformed, too large or from the future; nothing was stored."""

    exit_code = 2


class ClaimLost(LedgerError):
    """The fencing token is stale: somebody else holds the claim."""


class ClusterError(CleanupSchedulerError):
    """The cluster did not do what was asked. ``status`` is the HTTP status, 0 without an answer."""

    def __init__(self, message: str, *, hint: str = "", status: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class ClusterUnavailable(ClusterError):
    """No connection, a time-out, 5xx or 429."""

    exit_code = 4
    retryable = True

    def __init__(
        self, message: str, *, hint: str = "", status: int = 0, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message, hint=hint, status=status)
        self.retry_after_seconds = retry_after_seconds


class CredentialsRefused(ClusterError):
    """401: the token or certificate is not accepted (any more)."""

    exit_code = 4
    retryable = True


class PermissionMissing(ClusterError):
    """403: the message names the verb, the resource and the namespace."""

    exit_code = 4


class NotFound(ClusterError):
    """404."""


class Conflict(ClusterError):
    """409: another uid or resource version, or a namespace that is emptying. Look again."""

    retryable = True


class Refused(ClusterError):
    """A 4xx that will not change by itself: 422, an admission webhook's refusal."""


class BadAnswer(ClusterError):
    """The answer is no JSON, or not the JSON that the API promises."""

    retryable = True


class BrakeApplied(CleanupSchedulerError):
    """A pass would delete more than the configured count or share."""

    exit_code = 3
