"""What the README names exists, and what it should name it names."""

import re
from pathlib import Path

import pytest
import typer

from lakehouse.cli import app
from lakehouse.rooms import load_rooms
from lakehouse.settings import Settings

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()


def test_every_setting_is_in_the_table_and_no_other() -> None:
    named = set(re.findall(r"^\| `LAKEHOUSE_([A-Z0-9_]+)`", README, re.MULTILINE))
    assert named == {name.upper() for name in Settings.model_fields}


def test_every_setting_that_is_mentioned_exists() -> None:
    mentioned = set(re.findall(r"LAKEHOUSE_([A-Z][A-Z0-9_]*)", README))
    assert mentioned <= {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize(
    "path",
    sorted(
        set(re.findall(r"\]\(((?!http)[^)#]+)\)", README))
        | set(re.findall(r"`((?:tests|demo|bench|docs)/[\w/.]+)`", README))
    ),
)
def test_every_file_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_command_that_is_shown_exists() -> None:
    root = typer.Typer()
    root.registered_commands += app.registered_commands
    root.registered_groups += app.registered_groups
    load_rooms(root)
    known = typer.main.get_group(root).commands
    shown = set(re.findall(r"`lakehouse ([a-z]+)", README))
    assert shown
    assert shown <= set(known)


def test_every_target_that_is_shown_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test", "setup"} <= shown <= targets
