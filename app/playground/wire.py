"""The endpoint's front: signatures, faults, EBS direct of our own, and moto behind for EC2 and STS."""

from __future__ import annotations

import io
import json
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from app.playground import cloud
from app.playground.blocks import BLOCK, BlockStore, Refusal
from app.playground.sigv4 import Caller, Key, Refused, Request, verify

Answer = tuple[int, dict[str, str], bytes]
_XMLNS = b'xmlns="http://ec2.amazonaws.com/doc/2016-11-15"'
_BARE = re.compile(rb"^(<\?xml[^>]*>\s*)?<(\w+Response) [^>]*><requestId>[^<]*</requestId></\2>\s*$")
_REASONS = {
    "unknown-key": ("AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException"),
    "signature": ("AuthFailure", "SignatureDoesNotMatch", "InvalidSignatureException"),
    "expired": ("RequestExpired", "ExpiredToken", "ExpiredTokenException"),
    "malformed": ("MissingAuthenticationToken", "MissingAuthenticationToken", "MissingAuthenticationToken"),
}


class Faults:
    """What is to go wrong, read from `faults.json` before every request:

    {"PutSnapshotBlock": {"mode": "503", "count": 3, "after": 10}}

    The operation's calls fail `count` times (default: always), having gone well `after` times (default 0), counted
    from the file's last change. Modes: 503, throttle, expired, denied, hang (`seconds`, default 3600), cut (the
    connection is closed without an answer), bad-checksum (the checksum given or found is wrong), flip (on
    PutSnapshotBlock one byte is stored wrongly and only the disk's hash can tell; on GetSnapshotBlock one byte is
    wrong in the answer, whose checksum is right).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._text = ""
        self._plan: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, operation: str) -> Mapping[str, Any] | None:
        """The fault for this call of `operation`, if there is one."""
        with self._lock:
            try:
                text = self._path.read_text(encoding="utf-8")
                if text != self._text:
                    self._text, self._plan, self._seen = text, json.loads(text), {}
            except FileNotFoundError:
                self._text, self._plan = "", {}
            except ValueError:
                return None
            fault = self._plan.get(operation)
            if fault is None:
                return None
            number = self._seen[operation] = self._seen.get(operation, 0) + 1
            after, count = fault.get("after", 0), fault.get("count", float("inf"))
            return fault if after < number <= after + count else None


MOST_BYTES = 4 << 20
"""No request is longer; a stranger's is read before it is refused."""


class Cut(ConnectionError):
    """The connection is to be closed without an answer."""


class Wire:
    """The WSGI application. `keys` are those that may use it; `nonce` tells our own parent who answers."""

    def __init__(self, store: BlockStore, keys: dict[str, Key], faults: Path, nonce: str) -> None:
        self._store = store
        self._keys = keys
        self._faults = Faults(faults)
        self._nonce = nonce
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._started: dict[str, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = _request(environ)
        try:
            caller = verify(request, self._keys, time.time())
        except Refused as refused:
            status, headers, body = _refused(refused)
        else:
            status, headers, body = self._answer(request, caller, environ)
        headers = {**headers, "Content-Length": str(len(body)), "X-Endpoint": self._nonce}
        start_response(f"{status} -", list(headers.items()))
        return [body]

    def _answer(self, request: Request, caller: Caller, environ: dict[str, Any]) -> Answer:
        operation = _operation(request, caller.service)
        if not cloud.has_region(caller.region):
            return _error(401, "AuthFailure", "Credential should be scoped to a valid region.", caller.service)
        fault = self._faults.take(operation) or {}
        mode = fault.get("mode", "")
        if mode == "hang":
            time.sleep(float(fault.get("seconds", 3600)))
        if mode == "cut":
            raise Cut
        if mode in _FAULTS:
            status, codes = _FAULTS[mode]
            return _error(status, codes[2 if caller.service == "ebs" else 0], f"{operation} fails", caller.service)
        if caller.service == "ebs":
            try:
                return self._ebs(operation, request, caller.region, mode)
            except Refusal as refusal:
                return _error(refusal.status, refusal.name, str(refusal), "ebs", refusal.reason)
        if caller.service not in ("ec2", "sts"):
            return _error(400, "UnsupportedOperation", f"no {caller.service} here", caller.service)
        return self._to_moto(request, caller, environ, operation)

    def _ebs(self, operation: str, request: Request, region: str, mode: str) -> Answer:
        parts = request.path.strip("/").split("/")
        head = request.headers
        query = {name: values[0] for name, values in parse_qs(request.query).items()}
        if operation == "StartSnapshot":
            return self._start(json.loads(request.body), region)
        if operation == "CompleteSnapshot":
            checksum = head.get("x-amz-checksum", "")
            checksum = checksum[::-1] if mode == "bad-checksum" else checksum
            self._store.complete(parts[2], int(head["x-amz-changedblockscount"]), checksum)
            return _json(202, {"Status": "completed"})
        if operation == "ListSnapshotBlocks":
            limit, start = int(query.get("maxResults", 10_000)), int(query.get("startingBlockIndex", 0))
            blocks, page = self._store.list(parts[1], start, limit, query.get("pageToken", ""))
            answer = {
                "Blocks": [{"BlockIndex": index, "BlockToken": token} for index, token in blocks],
                "ExpiryTime": time.time() + 3600,
                "VolumeSize": self._store.get(parts[1]).gib,
                "BlockSize": BLOCK,
            }
            return _json(200, answer | ({"NextToken": page} if page else {}))
        if operation == "PutSnapshotBlock":
            given = "AAAA" if mode == "bad-checksum" else head.get("x-amz-checksum", "")
            checksum = self._store.put(parts[1], int(parts[3]), request.body, given)
            if mode == "flip":
                self._store.flip(parts[1], int(parts[3]))
            return 201, {"x-amz-Checksum": checksum, "x-amz-Checksum-Algorithm": "SHA256"}, b""
        if operation == "GetSnapshotBlock":
            data, checksum = self._store.read(parts[1], int(parts[3]), query.get("blockToken", ""))
            if mode == "flip":
                data = bytes([data[0] ^ 1]) + data[1:]
            if mode == "bad-checksum":
                checksum = checksum[::-1]
            headers = {"x-amz-Data-Length": str(len(data)), "x-amz-Checksum": checksum}
            return 200, headers | {"x-amz-Checksum-Algorithm": "SHA256"}, data
        raise Refusal("ValidationException", f"{operation or request.path} is not served here", "INVALID_PARAMETER")

    def _start(self, asked: dict[str, Any], region: str) -> Answer:
        with self._lock:
            token = asked.get("ClientToken", "")
            text = json.dumps({k: v for k, v in asked.items() if k != "ClientToken"}, sort_keys=True)
            before, ident = self._started.get(token, ("", ""))
            if token and ident and self._store.known(ident):
                if before != text:
                    raise Refusal("ConflictException", "The ClientToken was used with other parameters", "", 409)
            else:
                parent = asked.get("ParentSnapshotId")
                if parent:
                    self._store.get(parent)
                ident = cloud.start_snapshot(self._store, region, asked).id
                if parent:
                    self._store.inherit(parent, self._store.get(ident))
                self._started[token] = (text, ident)
        answer = {
            "SnapshotId": ident,
            "OwnerId": cloud.ACCOUNT,
            "Status": "pending" if self._store.pending(ident) else "completed",
            "VolumeSize": asked["VolumeSize"],
            "BlockSize": BLOCK,
            "Tags": asked.get("Tags") or [],
            "Description": asked.get("Description", ""),
        }
        return _json(201, answer)

    def _to_moto(self, request: Request, caller: Caller, environ: dict[str, Any], operation: str) -> Answer:
        query, body = request.query, request.body
        if operation in ("CreateTags", "DeleteTags"):
            query, body = _from_one(query), _from_one(body.decode()).encode()
        environ = {**environ, "QUERY_STRING": query, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        seen: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], _exc: object = None) -> Callable[[bytes], None]:
            seen.update(status=int(status.split()[0]), headers=dict(headers))
            return lambda data: None

        try:
            answer = b"".join(self._moto(environ, start))
        except NotImplementedError:
            return _error(400, "UnsupportedOperation", f"{operation} is not supported here", caller.service)
        except Exception:
            traceback.print_exc()
            return _error(500, "InternalError", f"{operation} failed; the endpoint's log says why", caller.service)
        if caller.service == "sts" and seen["status"] == 200:
            self._remember_session(answer.decode())
        if caller.service == "ec2":
            answer = answer.replace(_XMLNS, _XMLNS[:-1] + b'/"')
            bare = _BARE.match(answer)
            if bare and seen["status"] == 200:
                answer = answer.replace(b"</requestId>", b"</requestId><return>true</return>")
        kept = {k: v for k, v in seen["headers"].items() if k.lower() == "content-type"}
        return seen["status"], kept, answer

    def _remember_session(self, xml: str) -> None:
        found = dict(re.findall(r"<(AccessKeyId|SecretAccessKey|SessionToken|Expiration)>([^<]+)<", xml))
        if len(found) == 4:
            until = datetime.fromisoformat(found["Expiration"].replace("Z", "+00:00")).timestamp()
            self._keys[found["AccessKeyId"]] = Key(found["SecretAccessKey"], found["SessionToken"], until)


_FAULTS = {
    "503": (503, ("Unavailable", "", "InternalServerException")),
    "throttle": (400, ("RequestLimitExceeded", "", "RequestThrottledException")),
    "expired": (400, ("RequestExpired", "", "ExpiredTokenException")),
    "denied": (403, ("UnauthorizedOperation", "", "AccessDeniedException")),
    "unsupported": (400, ("UnsupportedOperation", "", "")),
}


def _request(environ: dict[str, Any]) -> Request:
    raw = environ.get("REQUEST_URI") or environ["PATH_INFO"]
    path, _, query = raw.partition("?")
    length = min(int(environ.get("CONTENT_LENGTH") or 0), MOST_BYTES)
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    headers["content-length"] = environ.get("CONTENT_LENGTH", "")
    return Request(environ["REQUEST_METHOD"], path, query, headers, environ["wsgi.input"].read(length))


def _operation(request: Request, service: str) -> str:
    if service != "ebs":
        fields = parse_qs(request.query) | parse_qs(request.body.decode("utf-8", "replace"))
        return fields.get("Action", [""])[0]
    parts = request.path.strip("/").split("/")
    key = (request.method, len(parts), "completion" in parts[1:2])
    return {
        ("POST", 1, False): "StartSnapshot",
        ("POST", 3, True): "CompleteSnapshot",
        ("GET", 3, False): "ListSnapshotBlocks" if parts[-1] == "blocks" else "ListChangedBlocks",
        ("PUT", 4, False): "PutSnapshotBlock",
        ("GET", 4, False): "GetSnapshotBlock",
    }.get(key, "")


def _from_one(text: str) -> str:
    """libcloud numbers resources and tags from 0, AWS takes it, moto does not."""
    if not re.search(r"(?:ResourceId|Tag)\.0\b", text):
        return text
    return re.sub(r"\b(ResourceId|Tag)\.(\d+)", lambda found: f"{found[1]}.{int(found[2]) + 1}", text)


def _json(status: int, value: Any) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _error(status: int, code: str, message: str, service: str, reason: str = "") -> Answer:
    if service == "ebs":
        answer = _json(status, {"Message": message} | ({"Reason": reason} if reason else {}))
        return answer[0], {**answer[1], "x-amzn-ErrorType": code}, answer[2]
    if service == "sts":
        text = f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        return status, {"Content-Type": "text/xml"}, f"{text}<RequestId>-</RequestId></ErrorResponse>".encode()
    text = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
    return status, {"Content-Type": "text/xml"}, f"{text}<RequestID>-</RequestID></Response>".encode()


def _refused(refused: Refused) -> Answer:
    codes = _REASONS[refused.reason]
    code = codes[{"sts": 1, "ebs": 2}.get(refused.service, 0)]
    status = 401 if code == "AuthFailure" else 403
    return _error(status, code, "The request is not signed with this endpoint's key.", refused.service)
