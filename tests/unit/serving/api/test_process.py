"""``lakehouse api serve`` as a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from calling import eventually

from lakehouse.catalog import load_catalog
from lakehouse.processes import Supervisor
from lakehouse.settings import Settings
from serving.api.keys import ApiKeys
from serving.api.local_key import local_key_file

pytestmark = pytest.mark.serving

START_SECONDS = 60


def test_it_serves_its_owner_and_stops_when_told(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    load_catalog(settings)
    port = Supervisor(settings.home).port("api")
    address = f"http://127.0.0.1:{port}"
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "lakehouse", "api", "serve", "--port", str(port)],
            env=os.environ | {"LAKEHOUSE_HOME": str(settings.home)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_alive(process, address, log)
        assert "lakehouse" in requests.get(address, timeout=10).text
        assert requests.get(f"{address}/page/index.html", timeout=10).status_code == 200
        key = local_key_file(settings).read_text()
        headers = {"Authorization": f"Bearer {key}"}
        # There are no tables yet: that is told, and ends nothing.
        answer = requests.get(f"{address}/v1/bars", headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert "gold.bars_1m" not in answer.text  # why is in the log alone
        assert "there is no table gold.bars_1m" in log.read_text()
        assert [made.name for made in ApiKeys.of(settings).all()] == ["local"]
        assert "server" not in answer.headers
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)
    assert "Traceback" not in log.read_text()


def _wait_until_alive(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    def is_alive() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            return requests.get(f"{address}/health/live", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    eventually(is_alive, START_SECONDS)
