"""Trino: SQL over the lake for analysts, dashboards and programs."""

import hashlib
import json
import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

from lakehouse.components import NOT_ANSWERING, READY, Component, Launch
from lakehouse.files import write_secretly
from lakehouse.infra import infra_file
from lakehouse.java import find_java
from lakehouse.processes import LOOPBACK

NAME = "trino"
# Trino 476 is compiled for it.
JAVA = 24
# The lake's connector, and those that read the passwords and the resource groups.
PLUGINS = ("iceberg", "password-authenticators", "resource-group-managers")
MAIN = "io.trino.server.TrinoServer"
# 16 seconds on two idle cores; a machine that starts everything else takes several times that.
DEADLINE_SECONDS = 180.0
PROBE_SECONDS = 1.0
# Against guessing from a stolen file. Passwords here are random, and Trino remembers who it knows.
PBKDF2_ITERATIONS = 100_000
SALT_BYTES = 16


@dataclass(frozen=True)
class TrinoInputs:
    """What one installation's Trino differs from another's in."""

    home: Path
    """The installation's; Trino has the folder ``trino`` in it."""
    distribution: Path
    """The unpacked server: ``lib`` and ``plugin`` are in it."""
    port: int
    certificate: Path
    """PEM file of certificate and key, valid for the address that clients use."""
    ca_file: Path
    """PEM file of the authority that signed it."""
    truststore: Path
    """The same authority as a PKCS #12 store: Trino trusts PostgreSQL, S3 and itself by it."""
    truststore_password: str = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)
    """By user; ``infra/trino/rules.json`` says what each may do."""
    internal_secret: str = field(repr=False)
    """Proves one Trino process to another; the same in all of a cluster."""
    catalog_url: str
    """JDBC address of the Iceberg catalog, with what TLS needs to verify it."""
    catalog_user: str
    catalog_password: str = field(repr=False)
    warehouse: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str = field(repr=False)
    s3_region: str = "us-east-1"
    host: str = LOOPBACK
    """Where it is reached."""
    listen_host: str = LOOPBACK


def component(
    inputs: Callable[[], TrinoInputs],
    *,
    after: tuple[str, ...] = (),
    secrets: tuple[str, ...] = (),
) -> Component:
    """Return Trino as a component of an installation.

    Args:
        inputs: Says what is this installation's own; asked when Trino starts here or is looked at.
        after: The catalog and the object store, where they are components too.
        secrets: Names of the secrets that it says.
    """
    return Component(
        NAME,
        after=after,
        launch=lambda: launch(inputs()),
        health=lambda: health(inputs()),
        deadline_seconds=DEADLINE_SECONDS,
        memory_mib=2600,  # the heap of infra/trino/jvm.config, and what is outside of it
        certificates=(NAME,),
        secrets=secrets,
    )


def launch(inputs: TrinoInputs) -> Launch:
    """Write what is this installation's own and say how to start Trino.

    Raises:
        lakehouse.java.JavaError: No Java is new enough.
        lakehouse.infra.InfraFileError: The configuration is not where it should be.
    """
    folder = inputs.home / NAME
    folder.mkdir(parents=True, exist_ok=True)
    configuration = infra_file(f"{NAME}/config.properties").parent
    _link(folder / "etc", configuration)
    (folder / "plugins").mkdir(exist_ok=True)
    for plugin in PLUGINS:
        _link(folder / "plugins" / plugin, inputs.distribution / "plugin" / plugin)
    write_passwords(inputs.home, inputs.passwords)
    own = [
        f"-Djavax.net.ssl.trustStore={inputs.truststore}",
        f"-Djavax.net.ssl.trustStorePassword={inputs.truststore_password}",
        f"-Dnode.data-dir={folder}",
        *(f"-D{line}" for line in _settings(configuration / "node.properties")),
        "-Dconfig=etc/config.properties",
        "-Dlog.levels-file=etc/log.properties",
    ]
    write_secretly(folder / "jvm.options", "\n".join([*map(_quoted, own), ""]).encode())
    # Trino's files name one another from its working folder. `exec` keeps the process id.
    argv = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(folder)]
    argv += [str(find_java(oldest=JAVA).executable), "@etc/jvm.config", "@jvm.options"]
    argv += ["-cp", f"{inputs.distribution}/lib/*", MAIN]
    return Launch(argv, environ(inputs), inputs.port)


def write_passwords(home: Path, passwords: Mapping[str, str]) -> None:
    """Write whom Trino lets in; one that runs reads it again by ``file.refresh-period``.

    Args:
        home: The installation's.
        passwords: By user.
    """
    write_secretly(password_file(home), _password_lines(passwords).encode())


def password_file(home: Path) -> Path:
    """Return the file of those whom Trino lets in; it is there once Trino was started."""
    return home / NAME / "passwords"


def environ(inputs: TrinoInputs) -> dict[str, str]:
    """Return every variable that the files of ``infra/trino`` name, and no other."""
    return {
        "TRINO_PLUGINS": str(inputs.home / NAME / "plugins"),
        "TRINO_HOST": inputs.host,
        "TRINO_BIND_ADDRESS": inputs.listen_host,
        "TRINO_PORT": str(inputs.port),
        "TRINO_CERTIFICATE": str(inputs.certificate),
        "TRINO_CA": str(inputs.ca_file),
        "TRINO_PASSWORD_FILE": str(password_file(inputs.home)),
        "TRINO_INTERNAL_SECRET": inputs.internal_secret,
        "TRINO_CATALOG_URL": inputs.catalog_url,
        "TRINO_CATALOG_USER": inputs.catalog_user,
        "TRINO_CATALOG_PASSWORD": inputs.catalog_password,
        "TRINO_WAREHOUSE": inputs.warehouse,
        "TRINO_S3_ENDPOINT": inputs.s3_endpoint,
        "TRINO_S3_REGION": inputs.s3_region,
        "TRINO_S3_ACCESS_KEY": inputs.s3_access_key,
        "TRINO_S3_SECRET_KEY": inputs.s3_secret_key,
    }


def health(inputs: TrinoInputs) -> str:
    """Return ``ready`` once Trino takes queries, ``starting`` while it only answers."""
    trusted = HTTPSHandler(context=ssl.create_default_context(cafile=str(inputs.ca_file)))
    opener = build_opener(ProxyHandler({}), trusted)  # a proxy would look for us on its own machine
    try:
        with opener.open(
            f"https://{inputs.host}:{inputs.port}/v1/info", timeout=PROBE_SECONDS
        ) as answer:
            return "starting" if json.load(answer)["starting"] else READY
    except (URLError, OSError, ValueError, LookupError, TypeError):  # or it is not Trino
        return NOT_ANSWERING


def password_line(user: str, password: str, salt: bytes) -> str:
    """Return a line of the password file: PBKDF2 with HMAC-SHA-1, the only PBKDF2 Trino takes."""
    hashed = hashlib.pbkdf2_hmac("sha1", password.encode(), salt, PBKDF2_ITERATIONS)
    return f"{user}:{PBKDF2_ITERATIONS}:{salt.hex()}:{hashed.hex()}"


def _password_lines(passwords: Mapping[str, str]) -> str:
    lines = (password_line(u, p, secrets.token_bytes(SALT_BYTES)) for u, p in passwords.items())
    return "".join(f"{line}\n" for line in lines)


def _settings(file: Path) -> list[str]:
    lines = (line.strip() for line in file.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _quoted(option: str) -> str:
    """Return an option as ``java`` reads it from a file, whatever characters a path has."""
    escaped = option.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _link(link: Path, target: Path) -> None:
    if link.is_symlink():
        if link.readlink() == target:
            return
        link.unlink()
    link.symlink_to(target)
