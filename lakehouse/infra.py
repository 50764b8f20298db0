"""Where the component configuration under ``infra/`` is found: the only place that knows."""

from pathlib import Path

from lakehouse.errors import LakehouseError

INFRA = Path(__file__).resolve().parent.parent / "infra"


class InfraFileError(LakehouseError):
    """A configuration file of a component is not where the installation should have it."""


def infra_file(name: str) -> Path:
    """Return the path of a file under ``infra/``, such as ``kafka/server.properties``.

    Raises:
        InfraFileError: The file does not exist, so the installation is not a checkout.
    """
    path = INFRA / name
    if not path.is_file():
        raise InfraFileError(
            f"{path} does not exist: the platform runs from its checkout, where `make setup` "
            "installs it in editable form"
        )
    return path
