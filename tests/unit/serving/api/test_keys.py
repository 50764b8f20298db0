"""API keys: made, found, ended, kept as hashes; and the local one."""

import re
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse.settings import Settings, get_settings
from serving.api.authentication import REMEMBERED_SECONDS, TRUSTED_SECONDS, KnownKeys
from serving.api.cli import app
from serving.api.keys import DATASETS, ApiKeyError, ApiKeys
from serving.api.local_key import (
    NoLocalKeyError,
    has_local_key,
    local_address,
    local_key,
    local_key_file,
)
from serving.api.problems import ProblemError

pytestmark = pytest.mark.serving


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def kept(home: Settings) -> ApiKeys:
    return ApiKeys.of(home)


def test_a_key_stands_for_what_it_was_made_for(kept: ApiKeys) -> None:
    key = kept.create("desk", datasets=["market", "clients"], lifetime=timedelta(days=1))
    found = kept.find(key)
    assert found is not None
    assert (found.name, found.role, found.datasets) == ("desk", "reader", {"market", "clients"})
    now = datetime.now(UTC)
    assert found.is_valid(now)
    assert not found.is_valid(now + timedelta(days=1))


@pytest.mark.parametrize("change", [str.upper, lambda k: k[:-1], lambda k: k + "x", lambda k: ""])
def test_what_is_no_key_is_nobodys(kept: ApiKeys, change: object) -> None:
    key = kept.create("desk")
    assert kept.find(change(key)) is None  # type: ignore[operator]


def test_of_two_keys_neither_has_the_others_secret(kept: ApiKeys) -> None:
    one, other = kept.create("one"), kept.create("other")
    mixed = "_".join([*one.split("_", 2)[:2], other.split("_", 2)[2]])
    assert kept.find(mixed) is None


def test_a_revoked_key_opens_nothing(kept: ApiKeys) -> None:
    key = kept.create("desk")
    found = kept.find(key)
    assert found is not None
    kept.revoke(found.id)
    first = kept.find(key)
    kept.revoke(found.id)
    assert first is not None
    assert not first.is_valid(datetime.now(UTC))
    assert kept.find(key) == first
    with pytest.raises(ApiKeyError, match="there is no API key nobody"):
        kept.revoke("nobody")


def test_no_byte_of_the_home_has_the_secret(kept: ApiKeys, home: Settings) -> None:
    secret = kept.create("desk").split("_", 2)[2].encode()
    kept.close()
    assert not [f for f in home.home.rglob("*") if f.is_file() and secret in f.read_bytes()]


def test_the_local_key_is_made_once_for_its_owner_alone(kept: ApiKeys, home: Settings) -> None:
    key = local_key(home, kept)
    assert local_key(home, kept) == key
    found = kept.find(key)
    assert found is not None
    assert found.datasets == set(DATASETS)
    assert stat.S_IMODE(local_key_file(home).stat().st_mode) == 0o600
    kept.revoke(found.id)
    assert local_key(home, kept) != key


def test_keys_in_a_database_of_others_are_none_of_the_homes(home: Settings) -> None:
    elsewhere = home.model_copy(update={"catalog_uri": "postgresql://server/catalog"})
    assert has_local_key(home)
    assert not has_local_key(elsewhere)
    with pytest.raises(NoLocalKeyError, match="make one with `lakehouse api keys create`"):
        local_address(elsewhere, 8123)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_a_revoked_key_is_let_in_for_seconds_only(kept: ApiKeys) -> None:
    key, clock = kept.create("desk"), Clock()
    known = KnownKeys(kept, clock=clock)
    found = await known.find(key)
    assert found is not None
    kept.revoke(found.id)
    assert await known.find(key) == found
    clock.now += REMEMBERED_SECONDS + 1
    assert await known.find(key) is None


@pytest.mark.anyio
async def test_without_the_database_known_keys_go_on(
    home: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.api.keys.BUDGET_SECONDS", 0.0)
    kept = ApiKeys.of(home)
    key, clock = kept.create("desk"), Clock()
    known = KnownKeys(kept, clock=clock)
    found = await known.find(key)
    kept.close()
    database = home.home / "catalog.db"
    database.rename(database.with_suffix(".away"))
    database.mkdir()
    clock.now += REMEMBERED_SECONDS + 1
    assert await known.find(key) == found
    with pytest.raises(ProblemError, match="keys cannot be checked at present"):
        await known.find("lh_other_key")
    clock.now += TRUSTED_SECONDS
    with pytest.raises(ProblemError, match="keys cannot be checked at present"):
        await known.find(key)


def test_the_command_line(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(home.home))
    get_settings.cache_clear()
    run = CliRunner().invoke
    made = run(app, ["keys", "create", "desk", "--dataset", "clients", "--days", "3"])
    assert re.fullmatch(r"lh_[0-9a-f]{12}_[\w-]{43}", made.output.strip())
    key_id = made.output.split("_")[1]
    assert key_id in run(app, ["keys", "list"]).output
    assert run(app, ["keys", "revoke", key_id]).output == f"revoked {key_id}\n"
    listed = run(app, ["keys", "list", "--json"]).output
    assert '"datasets": ["clients"]' in listed
    assert '"revoked_at": null' not in listed
    # Whatever else listens at the usual port must not be handed the key.
    assert "no API of" in str(run(app, ["address"]).exception)
    address = run(app, ["address", "--port", "8123"]).output.strip()
    assert address == f"http://127.0.0.1:8123/#key={local_key_file(home).read_text()}"
    get_settings.cache_clear()
