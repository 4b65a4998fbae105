"""Signing in other than by a key: a session token, SSO by botocore's own cache, a role that is renewed, MFA."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import botocore.credentials
import botocore.tokens
import pytest
from botocore.stub import Stubber

from app.playground.endpoint import Endpoint
from backends.driver import Settings
from backends.ec2 import Driver
from backends.ec2.clients import Clients
from backends.ec2.failures import translate
from backends.errors import AuthNeeded
from backends.model import now
from tests.backends.cloud import ec2_settings

ROLE = "arn:aws:iam::123456789012:role/operator"
DEVICE = "arn:aws:iam::123456789012:mfa/me"
START = "https://sso.example/start"
TOKEN = "canary-sso-token"
LEGACY = f"sso_start_url={START}\nsso_region=us-east-1\n"
SESSION = f"sso_session=work\n[sso-session work]\nsso_start_url={START}\nsso_region=us-east-1\n"


def session_keys(endpoint: Endpoint) -> dict[str, Any]:
    """Temporary keys, from the endpoint's STS."""
    words: dict[str, Any] = {"region_name": "us-east-1", "endpoint_url": endpoint.url}
    words |= {"aws_access_key_id": endpoint.access_key, "aws_secret_access_key": endpoint.secret_key}
    client = boto3.client("sts", **words)
    keys: dict[str, Any] = client.get_session_token()["Credentials"]
    client.close()
    return keys


@pytest.mark.parametrize("told", [True, False])
async def test_temporary_keys_need_their_session_token(endpoint: Endpoint, told: bool) -> None:
    keys = session_keys(endpoint)
    values = {**ec2_settings(endpoint).values, "access_key_id": keys["AccessKeyId"]}
    secrets = {"secret_access_key": keys["SecretAccessKey"], "session_token": keys["SessionToken"] if told else ""}
    made = Driver("cloud", Settings(values, secrets))
    found = await made.check()
    await made.close()
    assert [item.code for item in found] == ([] if told else ["auth"])
    assert keys["SecretAccessKey"] not in str(found)


class Portal(BaseHTTPRequestHandler):
    """AWS's SSO portal: role credentials for who has the token."""

    keys: dict[str, Any]
    asked: list[str]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.asked.append(url.path)
        wanted = {"role_name": ["ops"], "account_id": ["123456789012"]}
        if url.path != "/federation/credentials" or parse_qs(url.query) != wanted:
            self._answer(404, {"message": "no such role"})
        elif self.headers.get("x-amz-sso_bearer_token") != TOKEN:
            self._answer(401, {"message": "Session token not found or invalid"}, "UnauthorizedException")
        else:
            self._answer(200, {"roleCredentials": self.keys})

    def _answer(self, status: int, said: dict[str, Any], error: str = "") -> None:
        body = json.dumps(said).encode()
        self.send_response(status)
        if error:
            self.send_header("x-amzn-ErrorType", error)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def portal(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Portal]]:
    """A portal that gives the endpoint's temporary keys; profiles `ops` are written by the test."""
    keys = session_keys(endpoint)
    words = {"accessKeyId": keys["AccessKeyId"], "secretAccessKey": keys["SecretAccessKey"]}
    expires = int((now() + timedelta(hours=1)).timestamp() * 1000)
    given = {**words, "sessionToken": keys["SessionToken"], "expiration": expires}
    handler = type("Handler", (Portal,), {"keys": given, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL_SSO", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for owner in (botocore.credentials.SSOProvider, botocore.tokens.SSOTokenProvider):
        monkeypatch.setattr(owner, "_SSO_TOKEN_CACHE_DIR", str(tmp_path))
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def signed_in(folder: Path, form: str, token: str = TOKEN, hours: int = 1) -> None:
    """What `aws sso login` leaves: the profile's configuration, and a token in the cache."""
    role = "[profile ops]\nsso_role_name=ops\nsso_account_id=123456789012\nregion=us-east-1\n"
    (folder / "config").write_text(role + form)
    name = hashlib.sha1((START if form == LEGACY else "work").encode()).hexdigest()
    ends = (now() + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    kept = {"startUrl": START, "region": "us-east-1", "accessToken": token, "expiresAt": ends}
    if token:
        (folder / f"{name}.json").write_text(json.dumps(kept))


@pytest.mark.parametrize("form", [LEGACY, SESSION], ids=["legacy", "session"])
async def test_a_profile_with_sso(endpoint: Endpoint, portal: type[Portal], tmp_path: Path, form: str) -> None:
    signed_in(tmp_path, form)
    made = Driver("cloud", Settings({"endpoint_url": endpoint.url, "profile": "ops"}))
    assert await made.check() == []
    used = made._clients._open().get_credentials().get_frozen_credentials()
    await made.close()
    assert used.access_key == portal.keys["accessKeyId"]
    assert portal.asked == ["/federation/credentials"], "asked once, then kept"


@pytest.mark.parametrize("form", [LEGACY, SESSION], ids=["legacy", "session"])
@pytest.mark.parametrize(("token", "hours"), [("", 1), (TOKEN, -1), ("another", 1)])
async def test_who_is_not_signed_in_is_told_how(
    endpoint: Endpoint, portal: type[Portal], tmp_path: Path, form: str, token: str, hours: int
) -> None:
    signed_in(tmp_path, form, token, hours)
    made = Driver("cloud", Settings({"endpoint_url": endpoint.url, "profile": "ops"}))
    (finding,) = await made.check()
    await made.close()
    assert (finding.code, finding.field) == ("auth", "profile")
    assert "aws sso login" in finding.cure
    assert portal.asked == (["/federation/credentials"] if token == "another" else [])


class WithSts(Clients):
    """Clients whose STS answers what a test wrote down, and refuses anything else."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.client = boto3.client("sts", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        self.stub = Stubber(self.client)
        self.stub.activate()

    def _make(self, session: Any, service: str, region: str, attempts: int) -> Any:
        return self.client if service == "sts" else super()._make(session, service, region, attempts)

    def say(self, method: str, number: int, minutes: int, **asked: str) -> None:
        """The next answer: keys of this number, good for so many minutes."""
        keys = {"AccessKeyId": f"ASIA{number:016}", "SecretAccessKey": "s", "SessionToken": f"t{number}"}
        answer: dict[str, Any] = {"Credentials": {**keys, "Expiration": now() + timedelta(minutes=minutes)}}
        if method == "assume_role":
            answer["AssumedRoleUser"] = {"AssumedRoleId": "x:causeway", "Arn": f"{ROLE}/causeway"}
        self.stub.add_response(method, answer, asked)

    def token(self) -> str:
        return str(self._open().get_credentials().get_frozen_credentials().token)


@pytest.fixture
def keys() -> dict[str, str]:
    return {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "canary-secret", "role_arn": ROLE}


def test_a_role_is_renewed_before_it_ends(keys: dict[str, str]) -> None:
    clients = WithSts(Settings(keys))
    asked = {"RoleArn": ROLE, "RoleSessionName": "causeway"}
    clients.say("assume_role", 1, 5, **asked)
    clients.say("assume_role", 2, 60, **asked)
    assert [clients.token() for _ in range(3)] == ["t1", "t2", "t2"]
    clients.stub.assert_no_pending_responses()
    clients.client.close()


def test_a_role_with_mfa_asks_for_a_new_code_when_it_must_be_renewed(keys: dict[str, str]) -> None:
    clients = WithSts(Settings({**keys, "mfa_serial": DEVICE}, {"mfa_code": "123456"}))
    asked = {"RoleArn": ROLE, "RoleSessionName": "causeway", "SerialNumber": DEVICE, "TokenCode": "123456"}
    clients.say("assume_role", 1, 5, **asked)
    assert clients.token() == "t1"
    with pytest.raises(AuthNeeded) as said:
        clients.token()
    assert (said.value.field, said.value.message) == ("mfa_code", "a new MFA code is needed")
    clients.stub.assert_no_pending_responses()
    clients.client.close()


def test_a_code_that_is_refused_is_asked_for_again(keys: dict[str, str]) -> None:
    clients = WithSts(Settings({**keys, "role_arn": "", "mfa_serial": DEVICE}, {"mfa_code": "000000"}))
    text = "MultiFactorAuthentication failed with invalid MFA one time pass code."
    clients.stub.add_client_error("get_session_token", "AccessDenied", text, 403)
    with pytest.raises(Exception, match="one time pass code") as refused:
        clients.token()
    ours = translate(refused.value)
    assert isinstance(ours, AuthNeeded)
    assert (ours.field, bool(ours.cure)) == ("mfa_code", True)
    clients.client.close()
