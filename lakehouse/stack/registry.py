"""Apicurio: the schema registry, which refuses schemas that cannot read what was written."""

import json
from functools import partial
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from lakehouse.components import Component, Launch, answers
from lakehouse.distributions import distribution
from lakehouse.errors import LakehouseError
from lakehouse.infra import infra_file
from lakehouse.java import find_java
from lakehouse.stack.http import tls_context
from lakehouse.stack.installation import Installation

NAME = "registry"
API = "/apis/ccompat/v7"
# Apicurio 3.3 is compiled for it.
JAVA = 21
HEAP = "256m"
COMPATIBILITY = "BACKWARD"
PROBE_SECONDS = 2.0
REQUEST_SECONDS = 10.0


class RegistryError(LakehouseError):
    """The registry refuses to be set up."""


def component(installation: Installation) -> Component:
    """Return the schema registry of an installation."""
    return Component(
        NAME,
        after=("postgresql",),
        launch=partial(_launch, installation),
        health=answers(partial(_answers, installation)),
        provision=partial(_demand_compatibility, installation),
        provides=f"{COMPATIBILITY} compatibility a rule of the registry",
        deadline_seconds=120,
        memory_mib=550,
        certificates=(NAME,),
        secrets=(f"postgresql-{NAME}",),
    )


def _launch(installation: Installation) -> Launch:
    home = distribution(installation.settings, "apicurio")
    own = installation.certificate(NAME)
    database = f"{installation.address('postgresql')}/{NAME}"
    environ = {
        "REGISTRY_HOST": installation.listen_host,
        "REGISTRY_PORT": str(installation.port(NAME)),
        "REGISTRY_MANAGEMENT_PORT": str(installation.port(f"{NAME}-management")),
        "REGISTRY_CERTIFICATE": str(own.certificate),
        "REGISTRY_KEY": str(own.key),
        "REGISTRY_DATABASE": (
            f"jdbc:postgresql://{database}"
            f"?sslmode=verify-full&sslrootcert={installation.authority.file}"
        ),
        "REGISTRY_DATABASE_PASSWORD": installation.secret(f"postgresql-{NAME}"),
        "REGISTRY_PUBLIC_KEY": _public_key(installation),
        "QUARKUS_CONFIG_LOCATIONS": str(infra_file("apicurio/application.properties")),
    }
    java = find_java(oldest=JAVA)
    argv = [str(java.executable), f"-Xmx{HEAP}", "-XX:+UseSerialGC", "-Duser.timezone=UTC"]
    return Launch([*argv, "-jar", str(home / "quarkus-run.jar")], environ, installation.port(NAME))


def _public_key(installation: Installation) -> str:
    pem = installation.registry_key.as_pem(private=False).decode()
    return "".join(line for line in pem.splitlines() if not line.startswith("-----"))


def _answers(installation: Installation) -> bool:
    try:
        _ask(installation, "GET", "/config", seconds=PROBE_SECONDS)
    except (URLError, OSError):
        return False
    return True


def _demand_compatibility(installation: Installation) -> None:
    try:
        _ask(installation, "PUT", "/config", {"compatibility": COMPATIBILITY})
    except HTTPError as error:
        raise RegistryError(f"the registry refuses its rule: {error}: {error.read()!r}") from error


def _ask(
    installation: Installation,
    method: str,
    path: str,
    body: object = None,
    *,
    seconds: float = REQUEST_SECONDS,
) -> None:
    request = Request(
        f"https://{installation.address(NAME)}{API}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": f"Bearer {installation.registry_token('operator')}",
        },
    )
    with urlopen(request, timeout=seconds, context=tls_context(installation)):  # noqa: S310
        pass
