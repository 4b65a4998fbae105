"""Checks AWS Signature Version 4, so that only the holder of the key can use the playground's cloud.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

SKEW_S = 900
"""How far the clocks of client and server may be apart, as on AWS."""


class Refused(Exception):
    """The request is not from the holder of a key. `reason` is one of unknown-key, signature, expired, malformed."""

    def __init__(self, reason: str, service: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.service = service


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came over the wire: raw (still quoted) path and query."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Key:
    """A secret, and for a session its token and end (seconds since 1970)."""

    secret: str
    token: str = ""
    until: float = float("inf")

    def __repr__(self) -> str:
        return "Key(...)"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed, for which service and region."""

    access_key: str
    region: str
    service: str


@dataclass(frozen=True, slots=True)
class _Authorization:
    access_key: str
    date: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str

    @classmethod
    def parse(cls, header: str) -> _Authorization:
        algorithm, _, rest = header.partition(" ")
        raw = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
        scope = raw.get("Credential", "").split("/")
        if algorithm != "AWS4-HMAC-SHA256" or len(scope) != 5:
            raise Refused("malformed")
        access_key, date, region, service, _ = scope
        signed = tuple(raw.get("SignedHeaders", "").split(";"))
        return cls(access_key, date, region, service, signed, raw.get("Signature", ""))


def verify(request: Request, keys: Mapping[str, Key], now: float) -> Caller:
    """Who sent the request. Raises Refused where that is nobody we know; `now` in seconds since 1970."""
    claim = _Authorization.parse(request.headers.get("authorization", ""))
    key = keys.get(claim.access_key)
    if key is None:
        raise Refused("unknown-key", claim.service)
    if not _same(_signature(request, claim, key.secret), claim.signature) or "host" not in claim.signed:
        raise Refused("signature", claim.service)
    if key.token and not _same(key.token, request.headers.get("x-amz-security-token", "")):
        raise Refused("unknown-key", claim.service)
    if now > key.until or abs(now - _stamp(request.headers, claim.service)) > SKEW_S:
        raise Refused("expired", claim.service)
    return Caller(claim.access_key, claim.region, claim.service)


def _same(ours: str, theirs: str) -> bool:
    # As bytes: texts that are not ASCII are an error there, and theirs may be anything.
    return hmac.compare_digest(ours.encode(), theirs.encode())


def _signature(request: Request, claim: _Authorization, secret: str) -> str:
    payload = hashlib.sha256(request.body).hexdigest()
    if "x-amz-content-sha256" in claim.signed and request.headers.get("x-amz-content-sha256") == "UNSIGNED-PAYLOAD":
        payload = "UNSIGNED-PAYLOAD"
    canonical = "\n".join(
        (
            request.method,
            quote(request.path, safe="/-_.~"),
            _query(request.query),
            "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in claim.signed),
            ";".join(claim.signed),
            payload,
        )
    )
    scope = f"{claim.date}/{claim.region}/{claim.service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", request.headers.get("x-amz-date", ""), scope, digest))
    key = f"AWS4{secret}".encode()
    for part in (claim.date, claim.region, claim.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _query(raw: str) -> str:
    pairs = []
    for part in raw.split("&") if raw else []:
        name, _, value = part.partition("=")
        pairs.append((quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _stamp(headers: Mapping[str, str], service: str) -> float:
    try:
        moment = datetime.strptime(headers.get("x-amz-date", ""), "%Y%m%dT%H%M%SZ")
    except ValueError:
        raise Refused("malformed", service) from None
    return moment.replace(tzinfo=UTC).timestamp()
