"""What the stack consists of, in the order of its start."""

from collections.abc import Mapping
from functools import partial

from lakehouse import embedded
from lakehouse.components import Component
from lakehouse.distributions import distribution
from lakehouse.errors import LakehouseError
from lakehouse.java import TRUSTSTORE_PASSWORD
from lakehouse.settings import Settings, get_settings
from lakehouse.stack import (
    airflow,
    analysts,
    api,
    kafka,
    minio,
    mlflow,
    postgresql,
    prometheus,
    registry,
    spark,
    trino,
)
from lakehouse.stack.installation import REGION, WAREHOUSE, Installation

OWN: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "land": (400, ()),
    "speed": (1600, ()),
    embedded.LIVE: (320, ()),
    embedded.COMMANDS: (200, ("run",)),
    "metrics": (300, ()),
}
"""By verb of ours that runs until it is stopped, its MiB of memory and the words that follow it."""


class ProfileError(LakehouseError):
    """A home has one profile for its whole life, and this one has another."""


def install(settings: Settings) -> Settings:
    """Make a home the home of a stack, or bring its settings up to date.

    Args:
        settings: Name the home.

    Returns:
        The settings of the role ``operator``.

    Raises:
        ProfileError: The home holds an embedded lake.
    """
    if (settings.home / "catalog.db").exists():
        raise ProfileError(
            f"{settings.home} holds an embedded lake: give the stack a home of its own, such as "
            "LAKEHOUSE_HOME=.lakehouse-stack"
        )
    installation = Installation(settings)
    installation.write_roles()
    get_settings.cache_clear()
    operator = get_settings("operator")
    for component in components(operator, {}):
        for name in component.certificates:
            installation.certificate(name)
        for name in component.secrets:
            installation.secret(name)
    return operator


def components(settings: Settings, environ: Mapping[str, str]) -> list[Component]:
    """Return the components of a stack's home.

    Args:
        settings: Those of the role ``operator``.
        environ: Variables of our own processes, beside those of this one.
    """
    installation = Installation(settings)
    return [
        *postgresql.components(installation),
        minio.component(installation),
        kafka.component(installation),
        registry.component(installation),
        *spark.components(installation),
        embedded.tables(settings, after=(postgresql.NAME, minio.NAME, kafka.NAME, registry.NAME)),
        *_own(installation, environ),
        _trino(installation),
        _views(installation),
        api.component(installation, environ),
        mlflow.component(installation),
        *airflow.components(installation),
        *prometheus.components(installation),
    ]


def _trino(installation: Installation) -> Component:
    own = (*(f"{trino.NAME}-{user}" for user in analysts.TRINO_USERS), f"{trino.NAME}-internal")
    theirs = (f"{postgresql.NAME}-{postgresql.CATALOG}", f"{minio.NAME}-serving")
    # The catalog's own tables are made by whoever makes the lake's.
    return trino.component(
        partial(_trino_inputs, installation), after=("tables",), secrets=(*own, *theirs)
    )


def _trino_inputs(installation: Installation) -> trino.TrinoInputs:
    catalog = f"{installation.address(postgresql.NAME)}/{postgresql.CATALOG}"
    return trino.TrinoInputs(
        home=installation.home,
        distribution=distribution(installation.settings, trino.NAME),
        port=installation.port(trino.NAME),
        certificate=installation.certificate(trino.NAME).both,
        ca_file=installation.authority.file,
        truststore=installation.authority.truststore,
        truststore_password=TRUSTSTORE_PASSWORD,
        passwords=analysts.trino_passwords(installation),
        internal_secret=installation.secret(f"{trino.NAME}-internal"),
        catalog_url=(
            f"jdbc:postgresql://{catalog}?sslmode=verify-full"
            f"&sslrootcert={installation.authority.file}"
        ),
        catalog_user=postgresql.CATALOG,
        catalog_password=installation.secret(f"{postgresql.NAME}-{postgresql.CATALOG}"),
        warehouse=WAREHOUSE,
        s3_endpoint=f"https://{installation.address(minio.NAME)}",
        s3_access_key="serving",
        s3_secret_key=installation.secret(f"{minio.NAME}-serving"),
        s3_region=REGION,
        host=installation.host(trino.NAME),
        listen_host=installation.listen_host,
    )


def _views(installation: Installation) -> Component:
    return Component(
        "views",
        after=(trino.NAME,),
        provision=partial(embedded.run_verb, installation.settings, "views", "apply"),
        provides="the merged views",
    )


def _own(installation: Installation, environ: Mapping[str, str]) -> list[Component]:
    """Return our own processes, each with a page of metrics."""
    found = []
    for name, (memory_mib, words) in OWN.items():
        port = installation.port(f"{name}-metrics")
        options = [*words, "--metrics-port", str(port), "--metrics-host", installation.listen_host]
        found.append(
            embedded.long_running(
                installation.settings,
                name,
                *options,
                environ=environ,
                port=port,
                memory_mib=memory_mib,
            )
        )
    return found
