"""What a driver on the cluster is given by whoever submits it."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from lakehouse.cluster import drivers
from lakehouse.processes import LOOPBACK
from lakehouse.settings import EVERYWHERE, Settings
from lakehouse.stack import spark
from lakehouse.stack.installation import Installation


def settings(tmp_path: Path, **more: object) -> Settings:
    return Settings(home=tmp_path, **more)  # type: ignore[arg-type]


def test_a_driver_knows_the_home_and_nothing_of_airflow_or_of_the_submitters_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        *("AIRFLOW__API_AUTH__JWT_SECRET", "AIRFLOW_CTX_TASK_ID", "_AIRFLOW_FORK_EXEC"),
        *("LAKEHOUSE_SPARK_DRIVER_HOST", "HOSTNAME", "PGSSLROOTCERT"),
    ):
        monkeypatch.setenv(name, "the submitter's own")
    monkeypatch.setenv("LAKEHOUSE_SPARK_EXECUTORS", "1")
    secret = SecretStr("of the cluster")
    told = settings(tmp_path, network="services", spark_secret=secret)
    environ = drivers._environ(told)
    assert "the submitter's own" not in environ.values()
    assert environ["LAKEHOUSE_SPARK_EXECUTORS"] == "1"
    assert environ["LAKEHOUSE_HOME"] == str(tmp_path)
    assert environ["_SPARK_AUTH_SECRET"] == secret.get_secret_value()


@pytest.mark.parametrize(("network", "address"), [("loopback", LOOPBACK), ("services", EVERYWHERE)])
def test_a_driver_listens_on_the_loopback_or_in_its_container(
    tmp_path: Path, network: str, address: str
) -> None:
    assert drivers._environ(settings(tmp_path, network=network))["SPARK_LOCAL_IP"] == address


def test_a_master_that_is_no_cluster_takes_no_driver(tmp_path: Path) -> None:
    with pytest.raises(drivers.DriverError, match="LAKEHOUSE_SPARK_MASTER"):
        drivers.submit(settings(tmp_path), ["batch"])


def test_a_worker_is_at_the_address_on_its_way_to_the_master(tmp_path: Path) -> None:
    assert spark._own_address(Installation(settings(tmp_path))) == LOOPBACK
