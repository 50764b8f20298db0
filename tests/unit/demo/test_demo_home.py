"""Whose home the demo may empty."""

from pathlib import Path

import pytest

from demo.home import MARKER, HomeTakenError, NotEmbeddedError, demo_home
from lakehouse.settings import Settings


def fill(home: Path) -> None:
    (home / "warehouse" / "gold").mkdir(parents=True)
    (home / "catalog.db").write_text("lake")
    (home / "catalog.db-journal").write_text("lake")


def test_a_new_home_is_made_and_marked(settings: Settings) -> None:
    with demo_home(settings) as home:
        assert (home / MARKER).exists()


def test_a_home_that_exists_and_is_empty_will_do(settings: Settings) -> None:
    settings.home.mkdir(parents=True)
    with demo_home(settings) as home:
        assert home == settings.home


def test_the_lake_of_an_earlier_demo_is_replaced(settings: Settings) -> None:
    with demo_home(settings) as home:
        fill(home)
    assert (settings.home / "catalog.db").exists()  # it is left in place at the end
    with demo_home(settings) as home:
        assert {path.name for path in home.iterdir()} == {MARKER}


def test_another_lake_is_left_alone(settings: Settings) -> None:
    settings.home.mkdir(parents=True)
    fill(settings.home)
    with pytest.raises(HomeTakenError, match="no demo made it"), demo_home(settings):
        pass
    assert (settings.home / "catalog.db").read_text() == "lake"
    assert not (settings.home / MARKER).exists()


def test_a_file_that_the_platform_did_not_make_survives(settings: Settings) -> None:
    with demo_home(settings) as home:
        (home / "notes.txt").write_text("mine")
    with demo_home(settings) as home:
        assert (home / "notes.txt").read_text() == "mine"


def test_a_link_in_the_home_is_not_followed(settings: Settings, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("mine")
    with demo_home(settings) as home:
        (home / "warehouse").symlink_to(elsewhere)
    with demo_home(settings) as home:
        assert not (home / "warehouse").exists()
    assert (elsewhere / "precious").exists()


def test_two_demos_do_not_share_a_home(settings: Settings) -> None:
    with (
        demo_home(settings),
        pytest.raises(HomeTakenError, match="another demo"),
        demo_home(settings),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kafka_bootstrap", "broker:9092"),
        ("catalog_uri", "postgresql://db/iceberg"),
        ("warehouse", "s3://lake/"),
    ],
)
def test_a_lake_that_is_not_in_the_home_is_refused(tmp_path: Path, name: str, value: str) -> None:
    settings = Settings(home=tmp_path / "home", **{name: value})
    with pytest.raises(NotEmbeddedError, match=f"LAKEHOUSE_{name.upper()}"), demo_home(settings):
        pass
    assert not settings.home.exists()
