"""What the stack consists of, in the order of its start."""

from collections.abc import Mapping

from lakehouse import embedded
from lakehouse.components import Component
from lakehouse.settings import Settings
from lakehouse.stack import kafka, minio, postgresql, registry, spark
from lakehouse.stack.installation import Installation


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
        embedded.tables(
            settings, after=(postgresql.NAME, minio.NAME, kafka.NAME, registry.NAME)
        ),
        *embedded.layers(settings, environ),
    ]
