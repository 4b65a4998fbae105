"""The log file of a data folder: private, rotating, and without secrets."""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
from pathlib import Path

NAME = "causeway.log"
SIZE = 5 * 2**20
KEPT = 3
HIDDEN = "[hidden]"

_WORDS = r"(?:passw(?:or)?d|passphrase|passwd|secret(?:[_-]?(?:access[_-]?)?key)?|token|api[_-]?key|private[_-]?key)"
_PATTERNS = (
    re.compile(rf"(\b[\w-]*{_WORDS}\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&<>]+)", re.IGNORECASE),
    re.compile(rf"([\"'][\w-]*{_WORDS}[\"']\s*:\s*)(\"[^\"]*\"|'[^']*')", re.IGNORECASE),
    re.compile(rf"(<({_WORDS})\b[^>]*>)[^<]+", re.IGNORECASE),
    re.compile(r"(\w+://[^\s/:@]+:)[^\s/@]+(?=@)"),
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(?=-----END)"),
)
_known: set[str] = set()


def hide(secret: str) -> None:
    """Never let this value into a log, wherever it turns up. Very short ones would hide half of the text."""
    if len(secret) >= 6:
        _known.add(secret)


def redact(text: str) -> str:
    """`text` without what looks like a secret, or is known to be one."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, HIDDEN)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{HIDDEN}", text)
    return text


class Redacting(logging.Formatter):
    """Redacts the finished line, so that arguments and tracebacks are covered too."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def start(home: Path, level: int = logging.INFO) -> logging.Handler:
    """Log to <home>/causeway.log. Returns the handler; `stop` takes it away again."""
    path = home / NAME
    os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
    handler = _Private(path, maxBytes=SIZE, backupCount=KEPT, encoding="utf-8", delay=True)
    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(min(root.level, level) if root.handlers[:-1] else level)
    for noisy in ("asyncio", "boto3", "botocore", "urllib3", "asyncssh"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return handler


def stop(handler: logging.Handler) -> None:
    logging.getLogger().removeHandler(handler)
    handler.close()


class _Private(logging.handlers.RotatingFileHandler):
    """A log that only its owner can read, also after a rotation."""

    def _open(self):  # type: ignore[no-untyped-def]
        def opener(path: str, flags: int) -> int:
            return os.open(path, flags, 0o600)

        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=opener)
