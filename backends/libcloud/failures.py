"""What libcloud's errors mean to us. Their texts are cleaned: some providers put keys into URLs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from backends.errors import (
    AuthNeeded,
    BackendError,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    OutcomeUnknown,
    Throttled,
    Unreachable,
    Unsupported,
)

STATUS: dict[int, type[BackendError]] = {
    401: AuthNeeded,
    403: Denied,
    404: NotFound,
    409: Conflict,
    429: Throttled,
}
_CREDENTIALS = "give a valid key and secret"
_ENDPOINT = "check host, port and network"


def translate(error: Exception, secrets: Iterable[str], *, changes: bool = False) -> BackendError:
    """Our error for one of libcloud's, requests' or a driver's own."""
    import requests.exceptions as http
    from libcloud.common.exceptions import BaseHTTPError
    from libcloud.common.types import InvalidCredsError, LibcloudError, MalformedResponseError

    if isinstance(error, BackendError):
        return error
    text = _clean(error, secrets)
    if isinstance(error, InvalidCredsError):
        return AuthNeeded(text or "the key is refused", cure=_CREDENTIALS, field="key")
    if isinstance(error, BaseHTTPError):
        code = int(error.code or 0)
        kind = STATUS.get(code, Unreachable if code >= 500 else Invalid)
        if kind is AuthNeeded:
            return AuthNeeded(text or "the key is refused", cure=_CREDENTIALS, field="key")
        return kind(text or f"the provider answered {code}")
    if isinstance(error, http.SSLError):
        return Unreachable(text, cure="check the CA file and the host's name", field="ca")
    if isinstance(error, http.ProxyError):
        return Unreachable(text, cure="check the proxy", field="proxy")
    if isinstance(error, http.ReadTimeout) and changes:
        return OutcomeUnknown(text)
    if isinstance(error, http.RequestException | OSError):
        return Unreachable(text, cure=_ENDPOINT, field="host")
    if isinstance(error, NotImplementedError):
        return Unsupported(text or "this provider's driver cannot do that")
    if isinstance(error, MalformedResponseError):
        return Unreachable(f"the answer is not this provider's: {text[:200]}", cure=_ENDPOINT, field="host")
    if isinstance(error, ImportError):
        return Unsupported(text, cure="install what it names")
    if isinstance(error, TypeError):
        if missing := _MISSING.search(text):
            names = re.findall(r"'(\w+)'", missing[1])
            field = next((_FIELDS[name] for name in names if name in _FIELDS), "extra")
            return Invalid(f"this provider needs {' and '.join(names)}", cure="fill it in", field=field)
        return Invalid(f"the provider's driver takes other arguments: {text}", field="extra")
    if isinstance(error, KeyError):
        return Invalid(f"the provider's answer lacks {text}")
    if isinstance(error, LibcloudError | ValueError):
        return Invalid(text)
    return BackendError(text or type(error).__name__)


_MISSING = re.compile(r"missing \d+ required [\w-]+ arguments?: (.*)")
_FIELDS = {"key": "key", "user_id": "key", "username": "key", "secret": "secret", "password": "secret", "token": "key"}
"""What drivers call what our form has."""


def _clean(error: Exception, secrets: Iterable[str]) -> str:
    text = " ".join(str(error).split())
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return re.sub(r"\?[^\s'\")]+", "?...", text)
