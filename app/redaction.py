"""Known secret values never appear in what is logged or shown, whoever wrote the text."""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
from collections.abc import Callable
from urllib.parse import quote, quote_plus

MASK = "[secret]"
SHORTEST = 4
"""A shorter value is no secret worth the name, and masking it would tear up every text."""
LINE = 16
"""From this length on a line of a longer secret (a private key) is masked by itself too."""

_lock = threading.Lock()
_forms: set[str] = set()
_pattern: re.Pattern[str] | None = None


def remember(value: str) -> None:
    """From now on mask `value` in every redacted text, also where it is quoted, escaped or base64."""
    global _pattern
    values = [value, *(line for line in value.splitlines() if len(line.strip()) >= LINE)]
    forms = {form for text in values if len(text.strip()) >= SHORTEST for form in _written(text)}
    if forms <= _forms:
        return
    with _lock:
        _forms.update(forms)
        _pattern = re.compile("|".join(re.escape(form) for form in sorted(_forms, key=len, reverse=True)))


def redact(text: str) -> str:
    """`text` with every known secret masked."""
    return text if _pattern is None else _pattern.sub(MASK, text)


def _written(value: str) -> set[str]:
    """The ways in which a value is commonly written."""
    raw = value.encode()
    forms = {
        value,
        value.strip(),
        quote(value, safe=""),
        quote_plus(value),
        quote(value),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
    }
    return {form for form in forms if len(form) >= SHORTEST}


class Redaction(logging.Filter):
    """Masks known secrets in a record: its message, arguments and traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _pattern is None:
            return True
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            message = f"{record.msg} {record.args}"
        record.msg, record.args = redact(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


def guard_logs() -> None:
    """Redact every record of this process, whichever logger and handler it goes through. Idempotent."""
    made = logging.getLogRecordFactory()
    if isinstance(made, _Guarded):
        return
    logging.setLogRecordFactory(_Guarded(made))


class _Guarded:
    """A record factory whose records are redacted as they are made: handlers that come later are covered too."""

    def __init__(self, inner: Callable[..., logging.LogRecord]) -> None:
        self._inner = inner
        self._filter = Redaction()

    def __call__(self, *args: object, **kwargs: object) -> logging.LogRecord:
        record = self._inner(*args, **kwargs)
        self._filter.filter(record)
        return record
