"""What was released stays; what was not may still change. Seen as people see it: by the verbs."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from schema_drafts import Document, Draft, optional, renamed
from typer.testing import CliRunner

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.settings import get_settings
from schemas.cli import app
from schemas.registry import ContractRegistry
from schemas.released import Released

RUN = CliRunner()
BRONZE, SILVER = "bronze.market_trades", "silver.trades"
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 8}


@pytest.fixture(autouse=True)
def deployed(draft: Draft, monkeypatch: pytest.MonkeyPatch) -> Draft:
    draft.deploy(monkeypatch)
    monkeypatch.setenv("LAKEHOUSE_HOME", str(draft.folder / "home"))
    get_settings.cache_clear()
    return draft


@pytest.fixture
def committed(deployed: Draft) -> Draft:
    """The draft in a repository of its own."""
    git(deployed, "init")
    commit(deployed)
    return deployed


def git(draft: Draft, *words: str) -> None:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", draft.folder, *who, *words], check=True, capture_output=True)


def commit(draft: Draft) -> None:
    git(draft, "add", "--all")
    git(draft, "commit", "--message", "As it is now")


def run(verb: str) -> str:
    """Run a verb on the draft as it is now; return what it says, or why it refuses."""
    schemas.contracts.cache_clear()
    result = RUN.invoke(app, ["schemas", verb])
    return f"refused: {result.exception}" if result.exception else result.stdout


def add_fee(draft: Draft) -> None:
    draft.next_version(2, lambda f: f.update(fee=optional("fee", MONEY)), of=BRONZE)
    draft.add(SILVER, "fee", "decimal(18,8)", carried=True)


def edit_schema(draft: Draft, file: str, change: Callable[[Document], object]) -> None:
    path = draft.folder / "avro" / file
    schema = json.loads(path.read_text())
    change(schema)
    path.write_text(json.dumps(schema))


def test_the_platform_is_released_as_it_is() -> None:
    """A table or version that is not released yet may be changed; one that is may only evolve."""
    known = schemas.contracts()
    released = Released.read(schemas.folder())
    assert list(released.broken_by(known, ContractRegistry())) == []
    assert released.tables
    assert released.versions


def test_what_is_added_is_told_until_it_is_released(deployed: Draft) -> None:
    assert "not released" not in run("check")
    add_fee(deployed)
    assert "not released yet: silver.trades: added fee decimal(18, 8)" in run("check")
    assert "released: silver.trades: added fee" in run("release")
    assert "not released" not in run("check")


def test_what_is_not_released_yet_may_still_be_another(deployed: Draft) -> None:
    add_fee(deployed)
    run("check")
    deployed.change(SILVER, "fee", physicalType="decimal(38,8)")
    edit_schema(deployed, "market.trades.v2.avsc", lambda s: s.update(doc="Other words."))
    assert "sound" in run("check")


def add_version(draft: Draft, change: Callable[[dict[str, Document]], object]) -> None:
    draft.next_version(2, change, of=BRONZE)


def edit(draft: Draft, change: Callable[[Document], object]) -> None:
    edit_schema(draft, "market.trades.v1.avsc", change)


def edit_next(draft: Draft, change: Callable[[list[Document]], object]) -> None:
    add_version(draft, lambda fields: None)
    edit_schema(draft, "market.trades.v2.avsc", lambda schema: change(schema["fields"]))


def add_fee_and(draft: Draft, table: str, column: str) -> None:
    """Carry a fee in silver, and in another table as a column of some type."""
    add_fee(draft)
    draft.add(table, "fee", column, carried=True)


def add_wide_fee(draft: Draft) -> None:
    add_fee_and(draft, "gold.bars_1m", "decimal(38,8)")
    draft.change(SILVER, "fee", physicalType="decimal(38,8)")


def add_fee_and_take_it_from_the_topic(draft: Draft) -> None:
    add_fee(draft)
    draft.next_version(3, lambda fields: fields.pop("fee"), of=BRONZE)


REFUSED: dict[str, tuple[Callable[[Draft], object], str]] = {
    "a field without a default": (
        lambda d: add_version(d, lambda f: f.update(fee={"name": "fee", "type": "long"})),
        "market.trades-value: id 2 cannot read id 1: fee: a new field needs a default",
    ),
    "a field of a released version edited": (
        lambda d: edit(d, lambda schema: schema["fields"][3].update(doc="Other words.")),
        "market.trades-value: id 1: trade_id: was edited after its release",
    ),
    "a field of a released version taken away": (
        lambda d: edit(d, lambda schema: schema["fields"].pop()),
        "market.trades-value: id 1: received_at: was edited after its release",
    ),
    "fields of a released version in another order": (
        lambda d: edit(d, lambda schema: schema["fields"].reverse()),
        "market.trades-value: id 1: the order of its fields: was edited after its release",
    ),
    "something before the event time that cannot be skipped": (
        lambda d: edit_next(d, lambda fields: fields.insert(0, optional("fee", MONEY))),
        "market.trades-value: id 2: schema TradeEvent: event_time must be an integer with only",
    ),
    "an event time of another name": (
        lambda d: add_version(d, lambda f: renamed(f, "event_time", "executed_at")),
        "market.trades-value: id 2: schema TradeEvent: event_time must be",
    ),
    "a field in the place of a column of bronze": (
        lambda d: add_version(d, lambda f: f.update(payload=optional("payload", "bytes"))),
        "market.trades-value: payload: is the name of a column of bronze.market_trades",
    ),
    "a table without its contract": (
        lambda d: (d.folder / "contracts" / "ops.redrives.yaml").unlink(),
        "ops.redrives: was released and has no contract any more",
    ),
    "a narrower column": (
        lambda d: d.change(SILVER, "price", physicalType="decimal(17,8)"),
        "silver.trades.price: was decimal(18, 8), cannot become decimal(17, 8)",
    ),
    "another name without an alias": (
        lambda d: d.change(SILVER, "price", name="amount"),
        "silver.trades.price: the column is in the table only",
    ),
    "an optional column that is required": (
        lambda d: d.change(SILVER, "price", required=True),
        "silver.trades.price: was optional, would be required",
    ),
    "a required column dropped": (
        lambda d: d.drop(SILVER, "state"),
        "silver.trades.state: is required",
    ),
    "a table that carries nothing": (
        lambda d: d.add("silver.quotes", "lots", "int", carried=True),
        "silver.quotes.lots.carried: only silver.trades, silver.fills, gold.bars_1m",
    ),
    "a carried column without its field": (
        lambda d: d.add(SILVER, "lots", "int", carried=True),
        "silver.trades.lots: there is no such field in market.trades",
    ),
    "a carried column that does not hold its field": (
        lambda d: d.add(SILVER, "received_at", "int", carried=True),
        "silver.trades.received_at: int does not hold the field's [{'type': 'long'",
    ),
    "a field taken from under a carried column": (
        add_fee_and_take_it_from_the_topic,
        "silver.trades.fee: there is no such field in market.trades",
    ),
    "a sum of other places": (
        lambda d: add_fee_and(d, "gold.bars_1m", "decimal(38,2)"),
        "gold.bars_1m.fee: decimal(38, 2) is no sum of decimal(18, 8) in silver.trades",
    ),
    "a sum that may overflow": (
        lambda d: add_fee_and(d, "gold.bars_1m", "decimal(18,8)"),
        "gold.bars_1m.fee.carried: is a sum: decimal(38,s), not decimal(18, 8)",
    ),
    "addends that may overflow their sum": (
        add_wide_fee,
        "gold.bars_1m.fee: decimal(38, 8) cannot be added up",
    ),
    "a sum of what the minutes do not carry": (
        lambda d: add_fee_and(d, "gold.bars_1h", "decimal(38,8)"),
        "gold.bars_1h.fee: there is no carried column of that name in gold.bars_1m",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_change_that_somebody_would_not_survive_is_refused_by_field(
    deployed: Draft, name: str
) -> None:
    change, said = REFUSED[name]
    change(deployed)
    assert said in run("check")


def test_what_is_refused_is_neither_released_nor_applied(deployed: Draft) -> None:
    before = (deployed.folder / "released.json").read_text()
    deployed.change(SILVER, "price", required=True)
    for verb in ("check", "release", "apply"):
        assert run(verb).startswith("refused: silver.trades.price: was optional")
    assert (deployed.folder / "released.json").read_text() == before
    assert not load_catalog(get_settings()).list_namespaces(), "no table was made"


def test_a_field_changes_its_name_and_its_width_and_goes(committed: Draft) -> None:
    """A lake that is as any of the releases were can be brought up to date."""
    deployed = committed
    add_fee(deployed)
    run("release")
    commit(deployed)
    deployed.next_version(3, lambda fields: renamed(fields, "fee", "charge"), of=BRONZE)
    deployed.change(SILVER, "fee", name="charge", aliases=["fee"], physicalType="decimal(28,8)")
    released = run("release")
    assert "released: silver.trades: renamed fee to charge" in released
    assert "released: silver.trades: widened charge to decimal(28, 8)" in released
    commit(deployed)
    deployed.next_version(4, lambda fields: fields.pop("charge"), of=BRONZE)
    deployed.drop(SILVER, "charge")
    assert "released: silver.trades: dropped charge" in run("release")
    assert "held against 4 states" in run("check")


def require_price(draft: Draft) -> None:
    """Make a breaking change, and let released.json say that it always was so."""
    draft.change(SILVER, "price", required=True)
    schemas.contracts.cache_clear()
    (draft.folder / "released.json").write_text(
        Released.now(schemas.contracts(), ContractRegistry()).to_json()
    )


def test_a_release_that_is_edited_with_the_contract_is_still_what_it_was(committed: Draft) -> None:
    require_price(committed)
    for verb in ("check", "release"):
        assert run(verb).startswith("refused: silver.trades.price: was optional")
    commit(committed)
    assert run("check").startswith("refused: silver.trades.price: was optional")


def test_a_release_that_is_deleted_is_still_what_it_was(committed: Draft) -> None:
    (committed.folder / "released.json").unlink()
    assert "held against 2 states" in run("check")
    commit(committed)
    committed.change(SILVER, "price", required=True)
    assert run("release").startswith("refused: silver.trades.price: was optional")


def test_a_release_that_a_merge_left_out_is_still_what_it_was(committed: Draft) -> None:
    git(committed, "checkout", "-b", "fee")
    add_fee(committed)
    run("release")
    commit(committed)
    git(committed, "checkout", "-")
    git(committed, "merge", "--strategy=ours", "fee")
    said = run("check")
    assert "market.trades-value: id 2: was released and is gone" in said
    assert "silver.trades.fee: the column is in the table only" in said


def test_a_clone_without_its_history_is_held_against_the_file_and_releases_nothing(
    committed: Draft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(committed, "clone", "--depth=1", f"file://{committed.folder}", str(tmp_path / "shallow"))
    Draft(tmp_path / "shallow").deploy(monkeypatch)
    said = run("check")
    assert "is a shallow clone" in said
    assert "held against 1 states" in said
    assert "is a shallow clone" in run("release").removeprefix("refused: ")
    assert run("release").startswith("refused: ")


def test_a_repository_that_git_cannot_read_is_told_of(deployed: Draft) -> None:
    (deployed.folder / ".git").mkdir()
    assert f"alone: {deployed.folder}: git rev-parse: fatal" in run("check")
    assert run("release").startswith(f"refused: {deployed.folder}: git rev-parse: fatal")


def test_a_partitioning_may_change(deployed: Draft) -> None:
    deployed.change("gold.bars_1m", "window_start", partitionTransform="month")
    assert "gold.bars_1m: partitioned by month(window_start) from now on" in run("check")
