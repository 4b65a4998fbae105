"""What a failed connection attempt means, by field of the form."""

from __future__ import annotations

from backends.errors import AuthNeeded, BackendError, Conflict, Denied, HostKeyMismatch, Invalid, NotFound
from backends.model import Finding, Level


def finding(error: BackendError) -> Finding:
    """What `check` says of an error: its own code for host key, credentials, permission, TLS name."""
    text = error.message.lower()
    code, field, cure = "unreachable", error.field or "uri", error.cure
    if isinstance(error, HostKeyMismatch):
        code = "host-key"
    elif "certificate" in text or "tls" in text:
        code, cure = "tls", cure or "check the name in the server's certificate, and the TLS folder"
        field = "pkipath" if "file" in text or "unable to access" in text else "uri"
    elif isinstance(error, Denied) or "permission denied" in text:
        code, cure = "permission", cure or "add your user to the group libvirt"
    elif isinstance(error, Invalid):
        code = "invalid"
    elif isinstance(error, AuthNeeded):
        code, field = "auth", error.field or "keyfile"
    elif isinstance(error, NotFound | Conflict):
        code = "missing"
    return Finding(level=Level.RED, code=code, message=error.message, cure=cure, field=field)
