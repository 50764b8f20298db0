"""What the stack consists of, in the order of its start."""

from collections.abc import Mapping

from lakehouse import embedded
from lakehouse.components import Component
from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings, get_settings
from lakehouse.stack import kafka, minio, postgresql, registry, spark
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
        *embedded.layers(settings, environ),
    ]
