"""What the stack consists of, in the order of its start."""

from collections.abc import Mapping

from lakehouse import embedded
from lakehouse.components import Component
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings, get_settings
from lakehouse.stack import kafka, minio, mlflow, postgresql, prometheus, registry, spark
from lakehouse.stack.installation import Installation


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
    Installation(settings).write_roles()
    get_settings.cache_clear()
    return get_settings("operator")


def components(settings: Settings, environ: Mapping[str, str]) -> list[Component]:
    """Return the components of a stack's home.

    Args:
        settings: Those of the role ``operator``.
        environ: Variables of our own processes, beside those of this one.
    """
    installation = Installation(settings)
    return [
        postgresql.component(installation),
        minio.component(installation),
        kafka.component(installation),
        registry.component(installation),
        *spark.components(installation),
        embedded.tables(settings, after=(postgresql.NAME, minio.NAME, kafka.NAME, registry.NAME)),
        *_own(installation, environ),
        mlflow.component(installation),
        *prometheus.components(installation),
    ]


def _own(installation: Installation, environ: Mapping[str, str]) -> list[Component]:
    """Return our own processes, each with a page of metrics."""
    found = []
    for name, memory_mib in {"land": 400, "speed": 1600, "metrics": 300}.items():
        port = installation.port(f"{name}-metrics")
        options = ["--metrics-port", str(port), "--metrics-host", installation.listen_host]
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
