"""The log file of a data folder: private, rotating, and without secrets."""

from __future__ import annotations

import logging
import logging.handlers
import os
import re
from io import TextIOWrapper
from pathlib import Path

from app import redaction

NAME = "causeway.log"
SIZE = 5 * 2**20
KEPT = 3

_WORDS = r"(?:passw(?:or)?d|passphrase|passwd|secret(?:[_-]?(?:access[_-]?)?key)?|token|api[_-]?key|private[_-]?key)"
_PATTERNS = (
    re.compile(rf"(\b[\w-]*{_WORDS}\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&<>]+)", re.IGNORECASE),
    re.compile(rf"([\"'][\w-]*{_WORDS}[\"']\s*:\s*)(\"[^\"]*\"|'[^']*')", re.IGNORECASE),
    re.compile(rf"(<({_WORDS})\b[^>]*>)[^<]+", re.IGNORECASE),
    re.compile(r"(\w+://[^\s/:@]+:)[^\s/@]+(?=@)"),
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(?=-----END)"),
)


def redact(text: str) -> str:
    """`text` without the secrets that are known, and without what looks like one (a password in a definition)."""
    text = redaction.redact(text)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{redaction.MASK}", text)
    return text


class Redacting(logging.Formatter):
    """Redacts the finished line, so that arguments and tracebacks are covered too."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def start(home: Path, level: int = logging.INFO) -> logging.Handler:
    """Log to <home>/causeway.log. Returns the handler; `stop` takes it away again."""
    path = home / NAME
    redaction.guard_logs()
    handler = _Private(path, maxBytes=SIZE, backupCount=KEPT, encoding="utf-8")
    handler.setFormatter(Redacting("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    for noisy in ("asyncio", "boto3", "botocore", "urllib3", "asyncssh"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return handler


def stop(handler: logging.Handler) -> None:
    logging.getLogger().removeHandler(handler)
    handler.close()


class _Private(logging.handlers.RotatingFileHandler):
    """A log that only its owner can read, also after a rotation."""

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        return TextIOWrapper(os.fdopen(descriptor, "ab"), encoding=self.encoding)
