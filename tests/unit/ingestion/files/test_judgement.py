"""What of a changed header is let through, and what breaks the contract."""

from pathlib import Path

import pytest
from dropped_files import csv_of, instrument

from ingestion.files.csv_rows import CsvRows
from ingestion.files.json_rows import JsonRows
from ingestion.files.judgement import BreakingDriftError, judge, judge_header
from ingestion.files.rows import BadRow, Row, UnreadableFileError
from schemas import file_datasets

INSTRUMENTS = file_datasets()["instruments"]
NAMES = [column.name for column in INSTRUMENTS.columns]


def judged_csv(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "x.csv"
    path.write_text(text)
    return judge(INSTRUMENTS, CsvRows(path)).added


def test_names_are_known_by_synonyms_case_and_punctuation_aside() -> None:
    header = judge_header(
        INSTRUMENTS,
        ["Exchange", " TICKER", "baseAsset", "Quote-Currency", "kind", "Tick Size", "LOT.SIZE"],
    )
    assert [column.name for column in header.known.values()] == NAMES[:7]
    assert header.added == ()


def test_a_new_column_is_noted_and_kept() -> None:
    header = judge_header(INSTRUMENTS, [*NAMES, "Sector", ""])
    assert header.added == ("Sector", "")
    row = Row(2, instrument() | {"Sector": "x", "": None}, b"")
    kept = header.bronze(row)
    assert isinstance(kept, str)
    assert '"Sector": "x", "": null' in kept


@pytest.mark.parametrize("column", [c for c in INSTRUMENTS.columns if c.required])
def test_a_required_column_that_is_missing_is_named(column: object) -> None:
    name = column.name  # type: ignore[attr-defined]
    with pytest.raises(BreakingDriftError, match=f"{name}: the required column") as refusal:
        judge_header(INSTRUMENTS, [other for other in NAMES if other != name])
    assert refusal.value.field == name


def test_an_optional_column_may_be_missing() -> None:
    required = [column.name for column in INSTRUMENTS.columns if column.required]
    assert len(judge_header(INSTRUMENTS, required).known) == len(required)


@pytest.mark.parametrize("twice", [["symbol"], ["Ticker"], ["new", "new"]])
def test_a_column_that_is_there_twice_is_named(twice: list[str]) -> None:
    with pytest.raises(BreakingDriftError, match="is there twice") as refusal:
        judge_header(INSTRUMENTS, [*NAMES, *twice])
    assert refusal.value.field in ("symbol", "new")


def test_a_column_that_has_changed_its_type_is_named(tmp_path: Path) -> None:
    rows = [instrument("A", tick_size="small"), instrument("B", tick_size="")]
    with pytest.raises(BreakingDriftError, match="line 2: tick_size is 'small'") as refusal:
        judged_csv(tmp_path, csv_of(*rows))
    assert refusal.value.field == "tick_size"
    assert judged_csv(tmp_path, csv_of(*rows, instrument("C"))) == ()


def test_values_of_the_right_type_that_break_a_rule_are_no_drift(tmp_path: Path) -> None:
    assert judged_csv(tmp_path, csv_of(instrument(tick_size="-1", kind="SWAP"))) == ()


def test_objects_are_judged_by_all_the_fields_that_any_has(tmp_path: Path) -> None:
    whole = '{"venue": "v", "symbol": "S", "base": "B", "quote": "Q", "kind": "SPOT"'
    path = tmp_path / "x.jsonl"
    path.write_text(whole + ', "tick_size": 1}\n' + whole + ', "lot_size": 1, "more": {"a": 2}}\n')
    header = judge(INSTRUMENTS, JsonRows(path))
    assert header.added == ("more",)
    kept = [header.bronze(row) for row in JsonRows(path) if isinstance(row, Row)]
    assert [bad.detail for bad in kept if isinstance(bad, BadRow)] == [
        "lot_size is empty",
        "tick_size is empty",
    ]
    path.write_text(whole + ', "tick_size": true, "lot_size": 1}')
    with pytest.raises(BreakingDriftError, match="tick_size"):
        judge(INSTRUMENTS, JsonRows(path))
    path.write_text("[]")
    with pytest.raises(UnreadableFileError, match="no row"):
        judge(INSTRUMENTS, JsonRows(path))
