"""An authority of this installation, and the certificates that it signs.

The authority is made at the first start and trusted by this installation's processes only.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lakehouse.files import write_secretly
from lakehouse.java import TRUSTSTORE_PASSWORD
from lakehouse.processes import LOOPBACK

AUTHORITY_DAYS = 3650
# The longest that browsers accept; each start renews what is about to end.
CERTIFICATE_DAYS = 397
RENEW_DAYS = 30
# A clock that runs a little behind must not refuse a certificate of a minute ago.
BACKDATED = timedelta(hours=1)


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate and its key; ``both`` holds the two, key first."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    """Signs for whoever this installation runs; made in its home on first use.

    What servers need is in ``tls``. Its own key is apart from that, in ``authority``: containers
    share the one and not the other.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / "tls"
        self.file = self.folder / "ca.pem"
        self.truststore = self.folder / "ca.p12"
        self._key_file = home / "authority" / "ca.key"
        if not self.truststore.exists():  # the last that is written
            self._create()

    def certificate(self, name: str) -> Certificate:
        """Return a certificate for a server that is called ``name`` or runs on this machine.

        It is a client's too: its common name is ``name``.
        """
        folder = self.folder
        found = Certificate(folder / f"{name}.crt", folder / f"{name}.key", folder / f"{name}.pem")
        if not found.both.exists() or _ends_soon(found.certificate):
            self._issue(name, found)
        return found

    def _create(self) -> None:
        for folder in (self.folder, self._key_file.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"lakehouse installation {token_hex(4)}")
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=True,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            _builder(name, name, key.public_key(), AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        write_secretly(self._key_file, _pem(key))
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))
        trusted = pkcs12.PKCS12Certificate(certificate, b"lakehouse")
        encryption = BestAvailableEncryption(TRUSTSTORE_PASSWORD.encode())
        self.truststore.write_bytes(pkcs12.serialize_java_truststore([trusted], encryption))

    def _issue(self, name: str, files: Certificate) -> None:
        authority = x509.load_pem_x509_certificate(self.file.read_bytes())
        authority_key = load_pem_private_key(self._key_file.read_bytes(), password=None)
        assert isinstance(authority_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - we made it
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = x509.SubjectAlternativeName(
            [
                x509.DNSName(name),
                x509.DNSName("localhost"),
                x509.IPAddress(ip_address(LOOPBACK)),
            ]
        )
        uses = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        certificate = (
            _builder(_name(name), authority.subject, key.public_key(), CERTIFICATE_DAYS)
            .add_extension(hosts, critical=False)
            .add_extension(uses, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        pem = certificate.public_bytes(Encoding.PEM)
        files.certificate.write_bytes(pem)
        write_secretly(files.key, _pem(key))
        write_secretly(files.both, _pem(key) + pem)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + timedelta(days=days))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _ends_soon(file: Path) -> bool:
    end = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    return end - datetime.now(UTC) < timedelta(days=RENEW_DAYS)
