"""The playground's own certificate authority: mutual TLS between its hosts, for libvirtd and for QEMU."""

from __future__ import annotations

import os
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from backends.model import now

LIFE = timedelta(days=3650)
COMPLETE = "CA/cacert.pem"
"""The authority's certificate; written last, so that its presence means that all others are there."""


class Authority:
    """Signs the certificates of one playground. Its key lives in memory only: nobody can add a host later."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Causeway playground")
        usage = _usage(key_cert_sign=True, crl_sign=True)
        builder = _builder(self._name, self._name, self._key).add_extension(usage, critical=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def sign(self, name: str, address: str) -> tuple[bytes, bytes]:
        """A key and a certificate, both PEM, for a host that is server and client."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(name), x509.DNSName("localhost"), x509.IPAddress(ip_address(address))]
        builder = _builder(_name(name), self._name, key).add_extension(
            _usage(digital_signature=True, key_encipherment=True), critical=True
        )
        for extension in (
            x509.BasicConstraints(ca=False, path_length=None),
            x509.SubjectAlternativeName(names),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
        ):
            builder = builder.add_extension(extension, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), certificate


def write(authority: Authority, folder: Path, name: str, address: str) -> None:
    """Lay out `folder` as libvirtd and QEMU expect /etc/pki to be."""
    key, certificate = authority.sign(name, address)
    layout = {"qemu/ca-cert.pem": authority.certificate}
    for role in ("server", "client"):
        layout[f"libvirt/{role}cert.pem"] = layout[f"qemu/{role}-cert.pem"] = certificate
        layout[f"libvirt/private/{role}key.pem"] = layout[f"qemu/{role}-key.pem"] = key
    layout[COMPLETE] = authority.certificate
    for path, data in layout.items():
        private(folder / path, data)


def private(path: Path, data: bytes) -> None:
    """Write a file that only root can read, from its first moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now() - timedelta(days=1),
        not_valid_after=now() + LIFE,
    )


def _usage(**true: bool) -> x509.KeyUsage:
    first = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    names = (*first, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: true.get(name, False) for name in names})
