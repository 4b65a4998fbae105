"""What AWS's errors mean to us: one table, and the same judgement for every call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from backends.errors import (
    AuthNeeded,
    BackendError,
    Conflict,
    Denied,
    Invalid,
    NotFound,
    OutcomeUnknown,
    QuotaExceeded,
    Throttled,
    Unreachable,
    Unsupported,
)

T = TypeVar("T")

TABLE: dict[str, type[BackendError]] = {
    "AuthFailure": AuthNeeded,
    "ExpiredToken": AuthNeeded,
    "ExpiredTokenException": AuthNeeded,
    "InvalidClientTokenId": AuthNeeded,
    "InvalidSignatureException": AuthNeeded,
    "MissingAuthenticationToken": AuthNeeded,
    "RequestExpired": AuthNeeded,
    "SignatureDoesNotMatch": AuthNeeded,
    "UnrecognizedClientException": AuthNeeded,
    "AccessDenied": Denied,
    "AccessDeniedException": Denied,
    "OperationNotPermitted": Denied,
    "OptInRequired": Denied,
    "PendingVerification": Denied,
    "UnauthorizedOperation": Denied,
    "Blocked": Denied,
    "ConcurrentLimitExceededException": Throttled,
    "EC2ThrottledException": Throttled,
    "RequestLimitExceeded": Throttled,
    "RequestThrottled": Throttled,
    "RequestThrottledException": Throttled,
    "SlowDown": Throttled,
    "Throttling": Throttled,
    "ThrottlingException": Throttled,
    "ResourceNotFoundException": NotFound,
    "ConflictException": Conflict,
    "DependencyViolation": Conflict,
    "IdempotentParameterMismatch": Conflict,
    "IncorrectInstanceState": Conflict,
    "IncorrectState": Conflict,
    "InvalidAMIName.Duplicate": Conflict,
    "InvalidSnapshot.InUse": Conflict,
    "InvalidState": Conflict,
    "VolumeInUse": Conflict,
    "InsufficientInstanceCapacity": QuotaExceeded,
    "InstanceLimitExceeded": QuotaExceeded,
    "PendingSnapshotLimitExceeded": QuotaExceeded,
    "ServiceQuotaExceededException": QuotaExceeded,
    "SnapshotLimitExceeded": QuotaExceeded,
    "VcpuLimitExceeded": QuotaExceeded,
    "VolumeLimitExceeded": QuotaExceeded,
    "InvalidAction": Unsupported,
    "Unsupported": Unsupported,
    "UnsupportedOperation": Unsupported,
    "InternalError": Unreachable,
    "InternalFailure": Unreachable,
    "InternalServerException": Unreachable,
    "ServiceUnavailable": Unreachable,
    "Unavailable": Unreachable,
    "ValidationException": Invalid,
}

_CURES: dict[type[BackendError], str] = {
    AuthNeeded: "give a valid key, or sign in again (aws sso login, a new MFA code)",
    Denied: "ask for this permission in IAM",
    QuotaExceeded: "free something, or ask AWS for a higher quota",
    Unreachable: "check the endpoint URL, the network and the proxy",
}


def code_of(error: BaseException) -> str:
    """The error code in AWS's words, "" where it is not an answer of the service."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def translate(error: Exception, *, changes: bool = False) -> Exception:
    """Our error for one of boto3's; errors that are not boto3's come back as they are.

    `changes` says that the call changes something, so that a broken connection leaves its outcome unknown.
    """
    import botocore.exceptions as aws
    from botocore.parsers import ResponseParserError

    if isinstance(error, ResponseParserError):
        return Unreachable("the answer is not EC2's", cure=_CURES[Unreachable], field="endpoint_url")
    if isinstance(error, aws.ClientError):
        return _answered(error)
    if isinstance(error, aws.ReadTimeoutError | aws.ConnectionClosedError) and changes:
        return OutcomeUnknown(f"the connection broke during the call: {_text(error)}")
    if isinstance(error, aws.ProxyConnectionError):
        return Unreachable(_text(error), cure="check the proxy", field="proxy")
    if isinstance(error, aws.SSLError):
        return Unreachable(_text(error), cure="check the CA file and the host's name in the URL", field="ca")
    if isinstance(error, aws.ProfileNotFound):
        return Invalid(_text(error), cure="one of ~/.aws/config", field="profile")
    if isinstance(error, aws.NoRegionError | aws.InvalidRegionError):
        return Invalid(_text(error), cure="name a region", field="regions")
    if isinstance(
        error, aws.ConnectionError | aws.HTTPClientError | aws.ResponseStreamingError | aws.IncompleteReadError
    ):
        return Unreachable(_text(error), cure=_CURES[Unreachable], field="endpoint_url")
    if isinstance(error, aws.ParamValidationError):
        return Invalid(_text(error))
    if isinstance(error, aws.SSOError | aws.TokenRetrievalError):
        return AuthNeeded(_text(error), cure="sign in again: aws sso login", field="profile")
    if _is_credential_error(error):
        return AuthNeeded(_text(error), cure=_CURES[AuthNeeded], field="access_key_id")
    if isinstance(error, aws.BotoCoreError):
        return Invalid(_text(error))
    if isinstance(error, ValueError) and "endpoint" in str(error):
        return Invalid(str(error), cure="a URL like https://host:port", field="endpoint_url")
    return error


def call(function: Callable[..., T], *, changes: bool = False, **arguments: Any) -> T:
    """Call one of boto3's methods; its errors come out as ours."""
    try:
        return function(**arguments)
    except Exception as error:
        ours = translate(error, changes=changes)
        if ours is error:
            raise
        raise ours from error


def _answered(error: Any) -> BackendError:
    code = code_of(error)
    details = error.response.get("Error", {})
    message = f"{details.get('Message') or error.response.get('Message') or code} ({code})"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if "valid region" in message:
        return Invalid(message, cure="name a region of this cloud", field="regions")
    if "MultiFactorAuthentication" in message:
        return AuthNeeded(message, cure="give a new code of your device", field="mfa_code")
    kind = TABLE.get(code)
    if kind is None:
        if code.endswith((".NotFound", ".Unknown", "NotFoundException")):
            kind = NotFound
        elif code.endswith((".Duplicate", ".InUse", "IncorrectState")):
            kind = Conflict
        elif code.endswith("LimitExceeded"):
            kind = QuotaExceeded
        elif status >= 500:
            kind = Unreachable
        else:
            kind = {401: AuthNeeded, 403: Denied, 404: NotFound, 429: Throttled}.get(status, Invalid)
    if kind is Throttled:
        return Throttled(message, retry_after=2.0)
    return kind(message, cure=_CURES.get(kind, ""), field=_field(code))


def _field(code: str) -> str:
    if code in ("AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException"):
        return "access_key_id"
    if code in ("SignatureDoesNotMatch", "InvalidSignatureException"):
        return "secret_access_key"
    return "session_token" if TABLE.get(code) is AuthNeeded else ""


def _is_credential_error(error: Exception) -> bool:
    import botocore.exceptions as aws

    kinds = (
        aws.NoCredentialsError,
        aws.PartialCredentialsError,
        aws.CredentialRetrievalError,
        aws.RefreshWithMFAUnsupportedError,
        aws.InvalidConfigError,
    )
    return isinstance(error, kinds)


def _text(error: Exception) -> str:
    return " ".join(str(error).split())
