"""boto3's clients for one connection: credentials, proxy, CA, time limits, one client per service and region.

Clients may be used by several threads, making them may not: a lock guards that.
"""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import Any

from backends.driver import Option, Settings
from backends.errors import AuthNeeded

OPTIONS = (
    Option(name="regions", label="Regions", help="one or more, separated by commas", default="us-east-1"),
    Option(name="profile", label="AWS profile", help="of ~/.aws/config: keys, SSO or a role"),
    Option(name="access_key_id", label="Access key id", help="empty: the profile, or the environment"),
    Option(name="secret_access_key", label="Secret access key", secret=True),
    Option(name="session_token", label="Session token", secret=True, advanced=True),
    Option(name="endpoint_url", label="Endpoint URL", help="of an EC2-compatible cloud; empty: Amazon"),
    Option(name="role_arn", label="Role to assume", help="arn:aws:iam::ACCOUNT:role/NAME", advanced=True),
    Option(name="mfa_serial", label="MFA device", help="its ARN or serial number", advanced=True),
    Option(name="mfa_code", label="MFA code", help="six digits, good for one sign-in", secret=True, advanced=True),
    Option(name="ca", label="CA file", help="certificates to trust (PEM)", kind="path", advanced=True),
    Option(name="proxy", label="Proxy", help="http://host:port", advanced=True),
)


def regions(settings: Settings) -> tuple[str, ...]:
    """The regions of a connection, in the order given, each once."""
    names = [name.strip() for name in settings["regions"].split(",") if name.strip()]
    return tuple(dict.fromkeys(names)) or ("us-east-1",)


@cache
def _descriptions() -> Any:
    """What botocore reads of its services, once for all sessions: each would take 0.1 s of processor for EC2 alone."""
    from botocore.loaders import create_loader

    return create_loader(os.environ.get("AWS_DATA_PATH"))


class Clients:
    """Makes and keeps clients. Parameters: `attempts` tries for one call, `read_s` seconds for an answer."""

    def __init__(self, settings: Settings, *, attempts: int = 3, read_s: float = 20.0) -> None:
        self._settings = settings
        self._attempts = attempts
        self._read_s = read_s
        self._lock = threading.RLock()
        self._session: Any = None
        self._spent = False
        self._clients: dict[tuple[str, str, bool], Any] = {}

    def ec2(self, region: str, *, once: bool = False) -> Any:
        """The EC2 client of a region; with `once` it never repeats a call by itself."""
        return self._client("ec2", region, once)

    def ebs(self, region: str) -> Any:
        return self._client("ebs", region, False)

    def sts(self, region: str) -> Any:
        return self._client("sts", region, False)

    def frozen(self) -> Settings:
        """The settings for another process: with MFA the session that was opened with the code, which is good once."""
        if not (self._settings["mfa_serial"] or self._settings["mfa_code"]):
            return self._settings
        with self._lock:
            keys = self._open().get_credentials().get_frozen_credentials()
        dropped = ("access_key_id", "mfa_serial", "mfa_code", "role_arn", "profile")
        values = {k: v for k, v in self._settings.values.items() if k not in dropped}
        secrets = {"secret_access_key": keys.secret_key, "session_token": keys.token or ""}
        return Settings({**values, "access_key_id": keys.access_key}, secrets)

    def close(self) -> None:
        with self._lock:
            clients, self._clients, self._session = self._clients, {}, None
        for client in clients.values():
            client.close()

    def _client(self, service: str, region: str, once: bool) -> Any:
        key = (service, region, once)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._make(self._open(), service, region, 1 if once else self._attempts)
            return self._clients[key]

    def _make(self, session: Any, service: str, region: str, attempts: int) -> Any:
        from botocore.config import Config

        proxy = self._settings["proxy"]
        config = Config(
            connect_timeout=5,
            read_timeout=self._read_s,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=32,
            proxies={"http": proxy, "https": proxy} if proxy else None,
            user_agent_extra="causeway",
        )
        return session.create_client(
            service,
            region_name=region,
            endpoint_url=self._settings["endpoint_url"] or None,
            verify=self._settings["ca"] or None,
            config=config,
        )

    def _open(self) -> Any:
        """The botocore session, with its credentials settled. Raises AuthNeeded where a code is missing."""
        if self._session is not None:
            return self._session
        import boto3

        s = self._settings
        session: Any = boto3.Session(
            profile_name=s["profile"] or None,
            aws_access_key_id=s["access_key_id"] or None,
            aws_secret_access_key=s["secret_access_key"] or None,
            aws_session_token=s["session_token"] or None,
        )._session
        session.register_component("data_loader", _descriptions())
        provider = session.get_component("credential_provider").get_provider("assume-role")
        # botocore would ask on the terminal, which a window does not have.
        provider._prompter = lambda _prompt: self._code()
        if s["role_arn"]:
            self._assume_role(session)
        elif s["mfa_serial"]:
            self._open_with_mfa(session)
        self._session = session
        return session

    def _code(self) -> str:
        if self._spent or not self._settings["mfa_code"]:
            text = "a new MFA code is needed" if self._spent else "an MFA code is needed"
            raise AuthNeeded(text, cure="give the six digits of your device", field="mfa_code")
        return self._settings["mfa_code"]

    def _assume_role(self, session: Any) -> None:
        from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

        extra = {"RoleSessionName": "causeway"}
        if self._settings["mfa_serial"]:
            extra["SerialNumber"] = self._settings["mfa_serial"]
        source = session.get_credentials()
        if source is None:
            raise AuthNeeded("there are no credentials to assume the role with", field="access_key_id")

        def sts(_service: str, **keys: Any) -> Any:
            from botocore.session import Session

            bare = Session()
            bare.set_credentials(keys["aws_access_key_id"], keys["aws_secret_access_key"], keys["aws_session_token"])
            return self._make(bare, "sts", regions(self._settings)[0], self._attempts)

        fetcher = AssumeRoleCredentialFetcher(
            client_creator=sts,
            source_credentials=source,
            role_arn=self._settings["role_arn"],
            extra_args=extra,
            mfa_prompter=lambda _prompt: self._code(),
        )

        def fetch() -> Any:
            keys = fetcher.fetch_credentials()
            self._spent = True
            return keys

        session._credentials = DeferredRefreshableCredentials(method="assume-role", refresh_using=fetch)

    def _open_with_mfa(self, session: Any) -> None:
        client = self._make(session, "sts", regions(self._settings)[0], self._attempts)
        answer = client.get_session_token(SerialNumber=self._settings["mfa_serial"], TokenCode=self._code())
        self._spent = True
        keys = answer["Credentials"]
        session.set_credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])
