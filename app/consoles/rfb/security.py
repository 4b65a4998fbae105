"""The first half of the handshake: versions, and who proves what to whom (RFC 6143 7.1; VeNCrypt 0.2)."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import pack, unpack

from app.consoles import trust
from app.consoles.rfb.wire import Wire
from backends.consoles import DoorTls
from backends.errors import AuthNeeded, BackendError, Denied, HostKeyMismatch, Invalid, Unsupported

NONE, VNC_AUTH, VENCRYPT = 1, 2, 19
TLS_NONE, TLS_VNC, TLS_PLAIN, X509_NONE, X509_VNC, X509_PLAIN = range(257, 263)
NAMES = {
    5: "RSA-AES", 6: "RSA-AES", 16: "Tight", 17: "Ultra", 18: "TLS without VeNCrypt", 20: "SASL", 21: "MD5", 22: "xvp",
    30: "Apple's", 35: "Apple's", 113: "MS-Logon", 129: "RSA-AES", 130: "RSA-AES", 133: "RSA-AES",
    256: "VeNCrypt's Plain without TLS", 263: "SASL inside TLS", 264: "SASL inside TLS",
}  # fmt: skip
REASON = 64 << 10
"""Bytes of a server's explanation at most."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What this side can prove, and how the server is to prove itself. `unproven`: it need not."""

    user: str = ""
    password: str = field(default="", repr=False)
    tls: DoorTls | None = None
    unproven: bool = True


@dataclass(frozen=True, slots=True)
class Security:
    """What was agreed, in words; whether it is encrypted, and the server's certificate checked."""

    words: str
    encrypted: bool = False
    checked: bool = False


async def greet(wire: Wire) -> int:
    """Agree on a version: 3, 7 or 8. Raises Invalid where no RFB server answers."""
    hello = bytes(await wire.take(12))
    match = re.fullmatch(rb"RFB (\d{3})\.(\d{3})\n", hello)
    if match is None:
        raise Invalid(f"No VNC server: it begins with {printable(hello)!r}")
    spoken = int(match[1]), int(match[2])
    minor = 8 if spoken >= (3, 8) else 7 if spoken == (3, 7) else 3
    wire.send(b"RFB 003.%03d\n" % minor)
    return minor


async def secure(wire: Wire, minor: int, credentials: Credentials) -> Security:
    """Everything from the list of security types to the server's consent.

    Raises AuthNeeded (`field` "user", "password", or "trust" for a server that should prove itself and does not),
    Denied, HostKeyMismatch for a certificate that does not hold, Unsupported where nothing offered can be spoken.
    """
    chosen = await _choose(wire, minor)
    if chosen == VENCRYPT:
        return await _vencrypt(wire, minor, credentials)
    if not credentials.unproven:
        raise trust.asked(trust.PLAIN)
    if chosen == VNC_AUTH:
        await _vnc_auth(wire, credentials)
        await _consent(wire, minor, asked=True)
        return Security("VNC password")
    if minor >= 8:
        await _consent(wire, minor, asked=False)
    return Security("none")


async def _choose(wire: Wire, minor: int) -> int:
    if minor == 3:
        (only,) = unpack(">I", await wire.take(4))
        if only == 0:
            raise Denied(f"The screen's server refused: {await _reason(wire)}")
        if only not in (NONE, VNC_AUTH):
            raise _unsupported([only])
        return int(only)
    (count,) = await wire.take(1)
    if count == 0:
        raise Denied(f"The screen's server refused: {await _reason(wire)}")
    offered = bytes(await wire.take(count))
    chosen = next((kind for kind in (VENCRYPT, VNC_AUTH, NONE) if kind in offered), None)
    if NONE in offered and chosen == VNC_AUTH:
        chosen = NONE
    if chosen is None:
        raise _unsupported(offered)
    wire.send(bytes([chosen]))
    return chosen


def _unsupported(offered: Sequence[int]) -> Unsupported:
    names = ", ".join(dict.fromkeys(NAMES.get(kind, f"type {kind}") for kind in offered))
    return Unsupported(
        f"The screen's server only takes ways to sign in that are not spoken here: {names}",
        cure="Let it take VeNCrypt or a VNC password, or open an external viewer",
    )


async def _vencrypt(wire: Wire, minor: int, credentials: Credentials) -> Security:
    major, sub = await wire.take(2)
    if (major, sub) < (0, 2):
        raise Unsupported(f"The screen's server speaks VeNCrypt {major}.{sub}, which is too old: 0.2 is needed")
    wire.send(bytes([0, 2]))
    (refused,) = await wire.take(1)
    if refused:
        raise Unsupported("The screen's server does not speak VeNCrypt 0.2")
    (count,) = await wire.take(1)
    offered = unpack(f">{count}I", await wire.take(4 * count))
    chosen = _subtype(offered, credentials)
    if chosen not in (X509_NONE, X509_VNC, X509_PLAIN) and not credentials.unproven:
        raise trust.asked(trust.ANONYMOUS)
    wire.send(pack(">I", chosen))
    (ready,) = await wire.take(1)
    if not ready:
        raise Denied("The screen's server refused to encrypt")
    security = await _encrypt(wire, chosen, credentials.tls)
    if chosen in (TLS_VNC, X509_VNC):
        await _vnc_auth(wire, credentials)
    elif chosen in (TLS_PLAIN, X509_PLAIN):
        user, password = credentials.user.encode(), credentials.password.encode()
        wire.send(pack(">II", len(user), len(password)) + user + password)
    await _consent(wire, minor, asked=chosen not in (TLS_NONE, X509_NONE))
    return security


def _subtype(offered: Sequence[int], credentials: Credentials) -> int:
    """The best of the offered: a certificate before none, then as much proof as there are credentials for."""
    families = [(X509_NONE, X509_VNC, X509_PLAIN), (TLS_NONE, TLS_VNC, TLS_PLAIN)]
    for none, vnc, plain in families:
        if none in offered:
            return none
        if plain in offered and (credentials.user or vnc not in offered):
            if not credentials.user:
                raise AuthNeeded("The screen's server asks for a user name and a password", field="user")
            if not credentials.password:
                raise AuthNeeded("The screen's server asks for a password", field="password")
            return plain
        if vnc in offered:
            return vnc
    raise _unsupported(offered)


async def _encrypt(wire: Wire, chosen: int, tls: DoorTls | None) -> Security:
    if chosen in (TLS_NONE, TLS_VNC, TLS_PLAIN):
        try:
            await wire.encrypt(_anonymous(), None)
        except ssl.SSLError as error:
            raise Invalid(f"The screen's server could not agree on encryption: {error.reason or error}") from error
        return Security("TLS, server not checked", encrypted=True)
    if tls is None:
        raise Unsupported(
            "The screen's server shows a certificate, and it is not known which name it should bear",
            cure="Open the site with the host's name, not through a path that hides it",
        )
    try:
        await wire.encrypt(_verifying(tls), tls.host)
    except ssl.SSLCertVerificationError as error:
        raise HostKeyMismatch(
            f"The certificate of the screen's server does not hold for {tls.host}: {error.verify_message}",
            object_name=tls.host,
            cure="Name the authority that signed it in the site's settings, or let the host have a right certificate",
        ) from error
    except ssl.SSLError as error:
        raise Invalid(f"The screen's server could not agree on encryption: {error.reason or error}") from error
    return Security("TLS, certificate checked", encrypted=True, checked=True)


def _anonymous() -> ssl.SSLContext:
    """TLS without any certificate: hides from those who listen, not from one who stands in between."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # 1.3 has no anonymous key exchange
    context.set_ciphers("aNULL:!eNULL:@SECLEVEL=0")
    return context


def _verifying(tls: DoorTls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key or None, password=lambda: "")
    except (OSError, ValueError) as error:
        raise Invalid(
            f"The certificates for {tls.host} cannot be read: {error}",
            object_name=tls.host,
            cure="See to the files that the site's settings name",
        ) from error
    return context


async def _vnc_auth(wire: Wire, credentials: Credentials) -> None:
    challenge = bytes(await wire.take(16))
    if not credentials.password:
        raise AuthNeeded("The screen's server asks for a password", field="password")
    wire.send(response(challenge, credentials.password))


def response(challenge: bytes, password: str) -> bytes:
    """The answer to VNC's challenge: DES with the password's first 8 bytes, each bit-reversed, as the key."""
    from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
    from cryptography.hazmat.primitives.ciphers import Cipher, modes

    secret = password.encode("latin-1", "replace")[:8].ljust(8, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in secret)
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # three times the same key is plain DES
    return encryptor.update(challenge) + encryptor.finalize()


async def _consent(wire: Wire, minor: int, *, asked: bool) -> None:
    (result,) = unpack(">I", await wire.take(4))
    if result == 0:
        return
    reason = await _reason(wire) if minor >= 8 else "too many tries" if result == 2 else ""
    tail = f": {reason}" if reason else ""
    error: BackendError
    if asked:
        error = AuthNeeded(f"The screen's server did not take the password{tail}", field="password")
    else:
        error = Denied(f"The screen's server refused{tail}")
    raise error


async def _reason(wire: Wire) -> str:
    (length,) = unpack(">I", await wire.take(4))
    if length > REASON:
        raise Invalid(f"The screen's server wants to explain itself in {length} bytes")
    return printable(bytes(await wire.take(length))) or "it gives no reason"


def printable(data: bytes) -> str:
    """A server's text without anything that could play tricks on a terminal or a label."""
    return "".join(char if char.isprintable() else " " for char in data.decode("utf-8", "replace")).strip()
