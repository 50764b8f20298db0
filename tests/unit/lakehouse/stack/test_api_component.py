"""The API as a component of the stack: over TLS, under the installation's authority, and no more.

Nothing else of a stack runs: it serves an empty lake in a folder, which is not what is asked here.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from lakehouse.catalog import load_catalog
from lakehouse.components import NOT_ANSWERING, READY, Component
from lakehouse.settings import Settings
from lakehouse.stack import api
from lakehouse.stack.certificates import Authority
from lakehouse.stack.installation import Installation
from serving.api.server import CertificateError, serve

pytestmark = pytest.mark.serving

START_SECONDS = 60.0


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    one = Installation(Settings(home=tmp_path_factory.mktemp("stack") / "home"))
    one.supervisor.port(api.NAME)  # any: a home of another test may be about to take the usual one
    return one


@pytest.fixture(scope="module")
def running(installation: Installation) -> Iterator[Component]:
    load_catalog(installation.settings)
    component = api.component(installation, {})
    assert component.launch is not None
    assert component.health() == NOT_ANSWERING
    launch = component.launch()
    record = installation.supervisor.start(
        api.NAME, launch.argv, environ=launch.environ, port=launch.port
    )
    try:
        installation.supervisor.wait_until(
            record, lambda: component.health() == READY, deadline_seconds=START_SECONDS
        )
        yield component
    finally:
        installation.supervisor.stop(api.NAME)


def test_it_is_trusted_by_the_installations_authority_alone(
    installation: Installation, running: Component, tmp_path: Path
) -> None:
    address = f"https://{installation.address(api.NAME)}/v1/bars"
    ours, theirs = installation.authority.file, Authority(tmp_path).file
    assert requests.get(address, verify=str(ours), timeout=10).status_code == 401
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(address, verify=str(theirs), timeout=10)
    with pytest.raises(requests.ConnectionError):
        requests.get(address.replace("https", "http"), timeout=10)


def test_its_metrics_say_what_runs(installation: Installation, running: Component) -> None:
    address = f"https://{installation.address(api.NAME)}/metrics"
    told = requests.get(address, verify=str(installation.authority.file), timeout=10).text
    assert 'lakehouse_build_info{python="' in told
    assert "lakehouse_api_ready 1.0" in told


def test_a_file_that_is_no_certificate_is_named(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "garbage.pem"
    file.write_text("no certificate")
    with pytest.raises(CertificateError, match=r"garbage\.pem is no PEM file"):
        serve(settings, host="127.0.0.1", port=0, certificate=file)
