"""Where the files of the checkout are found that are no code: the only place that knows."""

from pathlib import Path

from lakehouse.errors import LakehouseError

CHECKOUT = Path(__file__).resolve().parent.parent
INFRA = CHECKOUT / "infra"
REQUIREMENTS = CHECKOUT / "requirements"


class InfraFileError(LakehouseError):
    """A configuration file of a component is not where the installation should have it."""


def infra_file(name: str) -> Path:
    """Return the path of a file under ``infra/``, such as ``kafka/server.properties``.

    Raises:
        InfraFileError: The file does not exist, so the installation is not a checkout.
    """
    return _existing(INFRA / name)


def requirements_file(name: str) -> Path:
    """Return the path of a lock under ``requirements/``, such as ``mlflow.txt``.

    Raises:
        InfraFileError: The file does not exist, so the installation is not a checkout.
    """
    return _existing(REQUIREMENTS / name)


def dags_folder() -> Path:
    """Return the folder of Airflow's DAGs."""
    return CHECKOUT / "dags"


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise InfraFileError(
            f"{path} does not exist: the platform runs from its checkout, where `make setup` "
            "installs it in editable form"
        )
    return path
