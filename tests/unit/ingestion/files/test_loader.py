"""Files into a real catalog: once, with their lines, whatever was dropped and whoever commits."""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bokeh_sampledata import package_path
from dropped_files import FileLake, csv_of, instrument, parquet_of
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from ingestion.files.loader import FileChangedError
from ingestion.files.loads import Status
from lakehouse.settings import Settings

NOON = datetime(2024, 8, 9, 12, tzinfo=UTC)

Row = dict[str, Any]


@pytest.fixture
def lake(settings: Settings) -> FileLake:
    return FileLake(settings)


def test_rows_are_in_bronze_as_they_came(lake: FileLake) -> None:
    path = lake.put("i.csv", csv_of(instrument(), instrument("ETHUSDT", tick_size="0.010")))
    verdict = lake.loader.load(path)
    assert verdict is not None
    assert (verdict.status, verdict.rows_loaded, verdict.rows_refused) == (Status.LOADED, 2, 0)
    first, second = sorted(lake.rows("bronze.files_instruments"), key=lambda r: r["line_number"])
    assert (first["dataset"], first["file_name"], first["line_number"]) == (
        "instruments",
        "i.csv",
        2,
    )
    said = json.loads(second["row_json"])
    assert (said["symbol"], said["tick_size"], said["contract_size"]) == ("ETHUSDT", "0.010", None)
    assert first["checksum"] == verdict.checksum
    assert first["ingested_at"] == second["ingested_at"]
    assert lake.lying() == [f"loaded/instruments/{verdict.checksum[:12]}_i.csv"]
    (record,) = lake.rows("ops.file_loads")
    assert (record["status"], record["rows_loaded"], record["drift"]) == ("LOADED", 2, None)


def test_the_same_bytes_are_loaded_once_whatever_their_name(lake: FileLake) -> None:
    text = csv_of(instrument())
    for name in ("a.csv", "a.csv", "b.csv"):
        lake.loader.load(lake.put(name, text))
    assert lake.lines() == Counter({("a.csv", 2): 1})
    assert lake.verdicts() == [("a.csv", "LOADED"), ("a.csv", "DUPLICATE"), ("b.csv", "DUPLICATE")]
    assert not lake.folder.waiting()
    assert lake.rows("ops.file_loads")[-1]["rows_loaded"] in (0, 1)


def test_bytes_that_went_into_the_wrong_dataset_still_go_into_the_right_one(lake: FileLake) -> None:
    both = "symbol,date,venue,trade_id,event_time,price,quantity,close"
    text = f"{both}\nA,2024-08-09,v,1,2024-08-09T12:00:00Z,1,1,1\nlower,x,v,-1,x,0,0,0\n"
    lake.loader.load(lake.put("t.csv", text, "eod_bars"))
    for name in ("t.csv", "again.csv"):
        lake.loader.load(lake.put(name, text, "trade_history"))
    assert [verdict for _, verdict in lake.verdicts()] == ["LOADED", "LOADED", "DUPLICATE"]
    for dataset in ("eod_bars", "trade_history"):
        assert lake.lines(f"bronze.files_{dataset}") == Counter({("t.csv", 2): 1})
    dead = Counter((row["topic"], row["source"]) for row in lake.rows("bronze.dead_letters"))
    assert dead == {("files.eod_bars", "t.csv:3"): 1, ("files.trade_history", "t.csv:3"): 1}


def test_a_bad_row_is_a_dead_letter_with_its_line_and_the_rest_loads(lake: FileLake) -> None:
    rows = [instrument("A"), instrument("B", tick_size="0"), instrument("C"), instrument("lower")]
    verdict = lake.loader.load(lake.put("i.csv", csv_of(*rows) + "too,few\n"))
    assert verdict is not None
    assert (verdict.status, verdict.rows_loaded, verdict.rows_refused) == (Status.LOADED, 2, 3)
    assert lake.lines() == Counter({("i.csv", 2): 1, ("i.csv", 4): 1})
    dead = {row["source"]: row for row in lake.rows("bronze.dead_letters")}
    assert {source: row["reason"] for source, row in dead.items()} == {
        "i.csv:3": "out_of_range",
        "i.csv:5": "pattern_mismatch",
        "i.csv:6": "wrong_field_count",
    }
    third = dead["i.csv:3"]
    assert third["payload"].startswith(b"binance_spot,B,BTC")
    assert third["detail"] == "tick_size is '0', not above 0"
    assert (third["stage"], third["topic"]) == ("files", "files.instruments")
    assert third["message_key"] == verdict.checksum.encode()


class Format(NamedTuple):
    """A file of some format with one row, and a field that its contract requires."""

    name: str
    dataset: str
    write: Callable[[Row], str | bytes]
    row: Row
    field: str
    other_type: Any

    @property
    def bronze(self) -> str:
        return f"bronze.files_{self.dataset}"

    def put(self, lake: FileLake, row: Row) -> Path:
        return lake.put(self.name, self.write(row), self.dataset)


BAR = {"symbol": "A", "date": NOON.date(), "close": Decimal("1.50")}
FORMATS = [
    Format("i.csv", "instruments", csv_of, instrument(), "lot_size", "small"),
    Format("i.json", "instruments", lambda row: json.dumps([row]), instrument(), "lot_size", True),
    Format("i.jsonl", "instruments", json.dumps, instrument(), "lot_size", "small"),
    Format("e.parquet", "eod_bars", parquet_of, BAR, "close", True),
]


@pytest.fixture(params=FORMATS, ids=lambda written: written.name)
def written(request: pytest.FixtureRequest) -> Format:
    found: Format = request.param
    return found


def test_a_new_column_is_loaded_and_noted(lake: FileLake, written: Format) -> None:
    verdict = lake.loader.load(written.put(lake, written.row | {"Sector": "coins"}))
    assert verdict is not None
    assert (verdict.status, verdict.drift) == (Status.LOADED, ("Sector",))
    (record,) = lake.rows("ops.file_loads")
    assert json.loads(record["drift"]) == ["Sector"]
    (kept,) = lake.rows(written.bronze)
    assert json.loads(kept["row_json"])["Sector"] == "coins"


@pytest.mark.parametrize("breach", ["missing", "of another type"])
def test_a_broken_contract_refuses_the_file_whole_with_the_field_named(
    lake: FileLake, written: Format, breach: str
) -> None:
    row = {name: value for name, value in written.row.items() if name != written.field}
    if breach == "of another type":
        row[written.field] = written.other_type
    verdict = lake.loader.load(written.put(lake, row))
    assert verdict is not None
    assert verdict.status is Status.REFUSED
    assert verdict.detail is not None
    assert f"{written.dataset}.{written.field}" in verdict.detail
    assert not lake.rows(written.bronze)
    assert not lake.rows("bronze.dead_letters")
    name = f"refused/{written.dataset}/{verdict.checksum[:12]}_{written.name}"
    assert lake.lying() == [name, f"{name}.reason.txt"]
    assert written.field in (lake.folder.root / f"{name}.reason.txt").read_text()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("i.xlsx", b"PK", "unsupported_format"),
        ("i.parquet", b"PAR1", "unsupported_format"),
        ("i.csv", b"", "empty_file"),
        ("i.json", b"[{]", "malformed_json"),
        ("i.csv.gz", b"venue,symbol", "malformed_header"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    lake: FileLake, name: str, content: bytes, reason: str
) -> None:
    verdict = lake.loader.load(lake.put(name, content))
    assert verdict is not None
    assert verdict.status is Status.REFUSED
    assert reason in (verdict.detail or "")
    assert not lake.folder.waiting()


def test_a_gzipped_parquet_file_is_refused_with_what_to_do(lake: FileLake) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"symbol": ["A"], "date": [NOON.date()], "close": [1]}), sink)
    packed = gzip.compress(sink.getvalue().to_pybytes())
    verdict = lake.loader.load(lake.put("e.parquet.gz", packed, "eod_bars"))
    assert verdict is not None
    assert verdict.status is Status.REFUSED
    assert "Parquet is taken as it is" in (verdict.detail or "")


def test_end_of_day_bars_come_as_parquet(lake: FileLake) -> None:
    days = [NOON.date(), NOON.date() + timedelta(days=1)]
    table = pa.table(
        {
            "ticker": ["AAPL", "BRK.B"],
            "trade_date": pa.array(days, pa.date32()),
            "open": [213.11, None],
            "high": [216.78, 1.0],
            "low": [211.97, 1.0],
            "close": pa.array([Decimal("216.240"), Decimal("1.000")]),
            "volume": [42_201_600, 0],
        }
    )
    path = lake.folder.root / "eod_bars" / "e.parquet"
    pq.write_table(table, path)
    verdict = lake.loader.load(path)
    assert verdict is not None
    assert (verdict.status, verdict.rows_loaded, verdict.rows_refused) == (Status.LOADED, 2, 0)
    assert verdict.drift == ()
    first, second = sorted(lake.rows("bronze.files_eod_bars"), key=lambda row: row["line_number"])
    assert {row["checksum"] for row in (first, second)} == {verdict.checksum}
    assert [(row["file_name"], row["line_number"]) for row in (first, second)] == [
        ("e.parquet", 1),
        ("e.parquet", 2),
    ]
    assert json.loads(first["row_json"]) == {
        "symbol": "AAPL",
        "business_date": "2024-08-09",
        "open": "213.11",
        "high": "216.78",
        "low": "211.97",
        "close": "216.240",
        "volume": "42201600",
    }
    assert json.loads(second["row_json"])["open"] is None


def test_trade_history_comes_as_csv(lake: FileLake) -> None:
    header = "venue,symbol,trade_id,event_time,price,quantity,aggressor_side"
    rows = (
        "binance_spot,BTCUSDT,7,2024-08-09T12:00:00.123456Z,61837.630,0.00012000,BUY",
        "",
        'binance_spot,BTCUSDT,8,1723204800000000,"61837.64",1,',
    )
    verdict = lake.loader.load(lake.put("t.csv", "\n".join((header, *rows)), "trade_history"))
    assert verdict is not None
    assert (verdict.status, verdict.rows_loaded, verdict.rows_refused) == (Status.LOADED, 2, 0)
    kept = sorted(lake.rows("bronze.files_trade_history"), key=lambda row: row["line_number"])
    assert [(row["dataset"], row["file_name"], row["line_number"]) for row in kept] == [
        ("trade_history", "t.csv", 2),
        ("trade_history", "t.csv", 4),
    ]
    assert {row["checksum"] for row in kept} == {verdict.checksum}
    assert json.loads(kept[0]["row_json"]) == dict(
        zip(header.split(","), rows[0].split(","), strict=True)
    )
    second = json.loads(kept[1]["row_json"])
    assert (second["event_time"], second["price"]) == ("1723204800000000", "61837.64")
    assert second["aggressor_side"] is None


def test_a_file_of_nobody_knows_what_is_refused(lake: FileLake) -> None:
    path = lake.folder.root / "prices.csv"
    path.write_text(csv_of(instrument()))
    verdict = lake.loader.load(path)
    assert verdict is not None
    assert (verdict.status, verdict.dataset) == (Status.REFUSED, "unknown")


def test_a_refused_file_is_judged_anew_when_it_comes_again(lake: FileLake) -> None:
    for _ in range(2):
        lake.loader.load(lake.put("i.csv", "nothing\n"))
    assert lake.verdicts() == [("i.csv", "REFUSED")] * 2


def test_all_rows_of_a_file_are_one_commit_however_many_chunks(settings: Settings) -> None:
    lake = FileLake(settings, chunk_rows=3)
    before = lake.catalog.load_table("bronze.files_instruments").metadata_location
    rows = [instrument(f"S{number}") for number in range(10)]
    lake.loader.load(lake.put("i.csv", csv_of(*rows)))
    table = lake.catalog.load_table("bronze.files_instruments")
    assert sum(lake.lines().values()) == 10
    assert [entry.metadata_file for entry in table.metadata.metadata_log] == [before]


def test_instruments_come_as_json_too(lake: FileLake) -> None:
    rows = [instrument("A"), instrument("B") | {"tick_size": "", "lot_size": "1"}]
    typed = json.dumps(rows).replace('"0.00001"', "0.00001")
    verdict = lake.loader.load(lake.put("i.json", typed))
    assert verdict is not None
    assert (verdict.rows_loaded, verdict.rows_refused) == (1, 1)
    assert json.loads(lake.rows("bronze.files_instruments")[0]["row_json"])["lot_size"] == "0.00001"


def test_trade_history_comes_as_parquet(lake: FileLake) -> None:
    table = pa.table(
        {
            "venue": ["binance_spot"] * 3,
            "symbol": ["BTCUSDT"] * 3,
            "trade_id": [1, 2, -3],
            "event_time": pa.array([NOON, NOON, NOON], pa.timestamp("ms", "UTC")),
            "price": [Decimal("61837.63"), Decimal("61837.64"), Decimal(1)],
            "quantity": [0.02, 0.1, 1.0],
            "aggressor_side": pa.array(["BUY", None, "SELL"]).dictionary_encode(),
        }
    )
    path = lake.folder.root / "trade_history" / "t.parquet"
    pq.write_table(table, path)
    verdict = lake.loader.load(path)
    assert verdict is not None
    assert (verdict.rows_loaded, verdict.rows_refused) == (2, 1)
    kept = sorted(lake.rows("bronze.files_trade_history"), key=lambda row: row["line_number"])
    assert json.loads(kept[0]["row_json"]) == {
        "venue": "binance_spot",
        "symbol": "BTCUSDT",
        "trade_id": "1",
        "event_time": "2024-08-09T12:00:00+00:00",
        "price": "61837.63",
        "quantity": "0.02",
        "aggressor_side": "BUY",
    }
    assert lake.refused_lines() == Counter({"t.parquet:3": 1})


def test_real_daily_bars_load_as_their_vendor_ships_them(lake: FileLake) -> None:
    packed = Path(package_path("stocks.csv.gz")).read_bytes()
    verdict = lake.loader.load(lake.put("stocks.csv.gz", packed, "eod_bars"))
    lines = gzip.decompress(packed).decode().splitlines()
    assert verdict is not None
    assert (verdict.rows_loaded, verdict.rows_refused) == (len(lines) - 1, 0)
    assert verdict.drift == ()
    kept = {row["line_number"]: row["row_json"] for row in lake.rows("bronze.files_eod_bars")}
    for number in (2, 7_000, len(lines)):
        said = json.loads(kept[number])
        assert ",".join(said.values()) == lines[number - 1]
    assert list(json.loads(kept[2]))[:3] == ["symbol", "business_date", "open"]


HOSTILE = {
    "nested.json": b'{"venue": ' + b"[" * 900 + b"]" * 900 + b"}",
    "deeper.jsonl": b'{"more": ' + b'{"a":' * 985 + b"1" + b"}" * 985 + b"}",
    "long.csv": b'venue,symbol\n"' + b"x" * 300_000,
    "zeros.csv": b"\0" * 3_000,
    "digits.json": b'[{"tick_size": ' + b"9" * 10_000 + b"}]",
    "name-\udcff.csv": b"venue\n",
    "'; drop table.csv": b"venue\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_file_stops_the_folder(lake: FileLake, name: str) -> None:
    verdict = lake.loader.load(lake.put(name, HOSTILE[name]))
    assert verdict is not None
    assert verdict.status is Status.REFUSED
    assert [status for _, status in lake.verdicts()] == ["REFUSED"]
    assert not lake.folder.waiting()


@given(
    st.sampled_from([".csv", ".json", ".jsonl", ".csv.gz"]),
    st.binary(max_size=60) | st.text('venue,symbol[]{}:"\n1', max_size=60).map(str.encode),
)
@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_bytes_stop_the_folder(lake: FileLake, suffix: str, junk: bytes) -> None:
    verdict = lake.loader.load(lake.put(f"i{suffix}", junk))
    assert verdict is not None
    assert verdict.status is Status.REFUSED
    assert not lake.folder.waiting()


def test_a_file_that_is_written_to_while_it_is_read_waits(
    lake: FileLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lake.put("i.csv", csv_of(instrument()))
    original = Table.transaction

    def grow(self: Table) -> Any:
        with path.open("a") as file:
            file.write("more")
        return original(self)

    with monkeypatch.context() as patched:
        patched.setattr(Table, "transaction", grow)
        with pytest.raises(FileChangedError):
            lake.loader.load(path)
    assert not lake.rows("bronze.files_instruments")
    assert list(lake.folder.waiting()) == [path]


def test_a_later_load_is_stamped_later_though_the_clock_goes_back(settings: Settings) -> None:
    present = [NOON]
    lake = FileLake(settings, clock=lambda: present[-1])
    for name in ("A", "B"):
        lake.loader.load(lake.put(f"{name}.csv", csv_of(instrument(name))))
        present.append(NOON - timedelta(hours=1))
    stamps = {row["file_name"]: row["ingested_at"] for row in lake.rows("bronze.files_instruments")}
    assert stamps == {"A.csv": NOON, "B.csv": NOON + timedelta(microseconds=1)}


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _seconds: None)


@pytest.mark.usefixtures("_no_waiting")
def test_of_two_loaders_of_the_same_bytes_one_loads_them(
    lake: FileLake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The race inside the commit, of two homes with one catalog: no lock is between them."""
    text = csv_of(instrument("A"), instrument("bad"))
    path = lake.put("i.csv", text)
    rival = FileLake(lake.settings.model_copy(update={"drop_folder": tmp_path / "theirs"}))
    theirs = rival.put("i.csv", text)
    original, left = SqlCatalog.commit_table, [1]

    def overtaken(self: SqlCatalog, *arguments: Any) -> Any:
        if left[0]:
            left[0] = 0
            rival.loader.load(theirs)
        return original(self, *arguments)

    monkeypatch.setattr(SqlCatalog, "commit_table", overtaken)
    lake.loader.load(path)
    assert lake.lines() == Counter({("i.csv", 2): 1})
    assert lake.refused_lines() == Counter({"i.csv:3": 1})
    assert lake.verdicts() == [("i.csv", "LOADED")]


@pytest.mark.usefixtures("_no_waiting")
def test_a_lost_answer_does_not_double(lake: FileLake, monkeypatch: pytest.MonkeyPatch) -> None:
    original = SqlCatalog.commit_table
    lost: Iterator[bool] = iter([True, False, True, False, True, False])

    def commit(self: SqlCatalog, *arguments: Any) -> Any:
        answer = original(self, *arguments)
        if next(lost, False):
            raise ConnectionError("the answer got lost")
        return answer

    monkeypatch.setattr(SqlCatalog, "commit_table", commit)
    lake.loader.load(lake.put("i.csv", csv_of(instrument("A"), instrument("bad"))))
    assert lake.lines() == Counter({("i.csv", 2): 1})
    assert lake.refused_lines() == Counter({"i.csv:3": 1})
    assert lake.verdicts() == [("i.csv", "LOADED")]
