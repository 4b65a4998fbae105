"""The audit trail: who did what to what, when, from which state to which, and how it ended."""

from __future__ import annotations

import getpass
import logging

from app.redaction import redact
from app.store import Store
from backends.errors import BackendError
from backends.model import Ref

log = logging.getLogger(__name__)


def current_user() -> str:
    """The user of this process, as the system names them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


class Audit:
    """Writes the trail into the store. Parameter `who`: stands in every line that names nobody else."""

    def __init__(self, store: Store, who: str = "") -> None:
        self._store = store
        self.who = who or current_user()

    async def record(self, what: str, ref: Ref | str, was: str, to: str, result: str, *, who: str = "") -> None:
        """Add a line. Known secrets are masked. Never raises for the store's sake: what was done is done, and
        a line that cannot be written is logged instead."""
        line = (who or self.who, what, ref, redact(was), redact(to), redact(result))
        try:
            await self._store.audit(*line)
        except BackendError as error:
            log.error("not in the audit trail (%s): %s", error, " | ".join(map(str, line)))

    async def trail(self, limit: int = 500, ref: Ref | str | None = None) -> list[dict[str, str]]:
        """The newest lines (about one object), newest first: at, who, what, ref, from, to, result."""
        return await self._store.audit_trail(limit, ref)
