"""Who is let into Trino, as its password file tells it."""

import pytest
from typer.testing import CliRunner

from lakehouse.components import ComponentError
from lakehouse.settings import Settings, get_settings
from lakehouse.stack import analysts, trino
from lakehouse.stack.analysts import AnalystError
from lakehouse.stack.cli import app
from lakehouse.stack.installation import Installation


@pytest.fixture
def installation(settings: Settings) -> Installation:
    """An installation whose Trino was started."""
    made = Installation(settings)
    made.write_roles()
    (made.home / "trino").mkdir()
    trino.write_passwords(made.home, analysts.trino_passwords(made))
    return made


def let_in(installation: Installation) -> dict[str, str]:
    """The users of the password file, and the hash of each."""
    lines = trino.password_file(installation.home).read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def hashed(password: str, stated: str) -> str:
    _, salt, _ = stated.split(":")
    return trino.password_line("", password, bytes.fromhex(salt)).removeprefix(":")


def test_one_more_is_let_in_with_a_password_of_their_own(installation: Installation) -> None:
    before = let_in(installation)
    user = analysts.add(installation, "jane")
    assert analysts.tell_trino(installation)
    password = (installation.home / "secrets" / "trino-analyst_jane").read_text()
    found = let_in(installation)
    assert found.keys() == {*before, user} == {*before, "analyst_jane"}
    assert found[user] == hashed(password, found[user])
    first = installation.secret("trino-analyst")
    assert password != first
    assert found["analyst"] == hashed(first, found["analyst"]), "the others keep theirs"


def test_to_add_one_again_changes_no_password(installation: Installation) -> None:
    analysts.add(installation, "jane")
    before = analysts.trino_passwords(installation)
    analysts.add(installation, "jane")
    assert analysts.trino_passwords(installation) == before


def test_who_is_removed_is_let_in_no_longer_and_comes_back_with_another_password(
    installation: Installation,
) -> None:
    analysts.add(installation, "jane")
    before = installation.secret("trino-analyst_jane")
    analysts.remove(installation, "jane")
    assert analysts.tell_trino(installation)
    assert set(let_in(installation)) == set(analysts.TRINO_USERS)
    analysts.add(installation, "jane")
    assert installation.secret("trino-analyst_jane") != before


def test_nobody_can_be_removed_who_is_not_there(installation: Installation) -> None:
    with pytest.raises(AnalystError, match="there is no analyst jane"):
        analysts.remove(installation, "jane")


@pytest.mark.parametrize("name", ["", "Jane", "jane:x", "../jane", "jane\n", "7", "j" * 33, "jané"])
def test_a_name_that_is_none_is_refused(installation: Installation, name: str) -> None:
    before = sorted(installation.known_secrets())
    for change in (analysts.add, analysts.remove):
        with pytest.raises(AnalystError, match="no name for an analyst"):
            change(installation, name)
    assert sorted(installation.known_secrets()) == before


def test_a_trino_elsewhere_knows_when_it_starts(settings: Settings) -> None:
    installation = Installation(settings)
    analysts.add(installation, "jane")
    assert not analysts.tell_trino(installation)
    assert "analyst_jane" in analysts.trino_passwords(installation)


def test_the_verb_tells_where_the_password_is(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(installation.home))
    get_settings.cache_clear()
    try:
        told = CliRunner().invoke(app, ["analyst", "jane"])
        assert told.exit_code == 0, told.output
        assert str(installation.home / "secrets" / "trino-analyst_jane") in told.output
        assert "analyst_jane" in let_in(installation)
        assert "no longer" in CliRunner().invoke(app, ["analyst", "jane", "--remove"]).output
        assert "analyst_jane" not in let_in(installation)
    finally:
        get_settings.cache_clear()


def test_an_embedded_home_has_no_analysts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(settings.home))
    get_settings.cache_clear()
    try:
        done = CliRunner().invoke(app, ["analyst", "jane"])
        assert isinstance(done.exception, ComponentError)
    finally:
        get_settings.cache_clear()
