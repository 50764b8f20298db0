"""The compose file beside the components of the native stack.

Read as YAML: no compose command and no engine is needed. What the compose command itself says of
the file is in tests/integration/infra.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lakehouse.components import Component
from lakehouse.infra import CHECKOUT
from lakehouse.settings import Settings
from lakehouse.stack.profile import components

# The tests of this folder import what lies beside them.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Component]:
    """The components as they are in containers."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), network="services")
    return {component.name: component for component in components(settings, {})}
