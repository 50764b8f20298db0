"""The readers: every row once, with its line; what is none is named, and its neighbours survive."""

import csv
import gzip
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion.files.csv_rows import CsvRows
from ingestion.files.json_rows import JsonRows
from ingestion.files.parquet_rows import ParquetRows
from ingestion.files.rows import BadRow, Number, Row, UnreadableFileError

# A folder of its own for each example is not needed: each overwrites the file of the last.
REUSED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
WORDS = st.text("abcXYZ ,\"'\n\r;é\ufeff", max_size=8)


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def fields(rows: Any) -> list[Any]:
    return [(row.line, dict(row.fields)) for row in rows if isinstance(row, Row)]


def faults(rows: Any) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in rows if isinstance(row, BadRow)]


@REUSED
@given(st.lists(st.lists(WORDS, min_size=3, max_size=3), max_size=8))
def test_what_a_csv_writer_wrote_is_read(tmp_path: Path, records: list[list[str]]) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    lines = []
    for record in [["a", "b", "c"], *records]:
        lines.append(_lines(stream.getvalue()) + 1)
        writer.writerow(record)
    found = list(CsvRows(written(tmp_path, "x.csv", stream.getvalue())))
    expected = [dict(zip("abc", (v or None for v in r), strict=True)) for r in records]
    assert fields(found) == list(zip(lines[1:], expected, strict=True))


def _lines(text: str) -> int:
    return text.replace("\r\n", "\n").replace("\r", "\n").count("\n")


@REUSED
@given(st.binary(max_size=200))
def test_no_bytes_break_the_csv_reader(tmp_path: Path, junk: bytes) -> None:
    path = written(tmp_path, "x.csv", b"a,b\n1,2\n" + junk)
    (first, *rest) = CsvRows(path)
    assert isinstance(first, Row)
    for row in rest:
        assert row.line >= 3 or not junk.strip()
        if isinstance(row, Row):
            json.dumps(dict(row.fields), ensure_ascii=False).encode()
        else:
            assert row.raw.strip(b"\r\n") in junk or b"\r" in junk


@REUSED
@given(st.lists(st.sampled_from([b"1,2", b"1,2,3", b'1,"2"x', b"\xff,2", b""]), max_size=9))
def test_each_line_is_a_row_or_a_fault_of_its_own(tmp_path: Path, lines: list[bytes]) -> None:
    found = list(CsvRows(written(tmp_path, "x.csv", b"\n".join([b"a,b", *lines]))))
    reasons = {b"1,2,3": "wrong_field_count", b'1,"2"x': "malformed_csv"}
    reasons[b"\xff,2"] = "malformed_encoding"
    numbered = [(number, line) for number, line in enumerate(lines, 2) if line]
    assert faults(found) == [(n, reasons[line]) for n, line in numbered if line != b"1,2"]
    assert fields(found) == [(n, {"a": "1", "b": "2"}) for n, line in numbered if line == b"1,2"]
    raws = [row.raw for row in found]
    assert raws == [line for _, line in numbered]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"\xff\xfe,b\n", "malformed_header"),
        (b'"a"b,c\n', "malformed_header"),
    ],
)
def test_a_csv_file_without_a_header_is_no_file(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    with pytest.raises(UnreadableFileError) as error:
        CsvRows(written(tmp_path, "x.csv", content))
    assert error.value.reason == reason


def test_a_mark_of_byte_order_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert CsvRows(written(tmp_path, "x.csv", b"\xef\xbb\xbfa,b\r\n")).names == ("a", "b")


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,x\n" % n for n in range(100_000)))
    rows = CsvRows(written(tmp_path, "x.csv.gz", whole[: len(whole) // 2]))
    with pytest.raises(UnreadableFileError, match="damaged_file: line"):
        list(rows)
    with pytest.raises(UnreadableFileError):
        CsvRows(written(tmp_path, "x.csv.gz", b"a,b\n"))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def told(value: Any) -> Any:
    """What a reader makes of a value: numbers as they were written."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return [told(part) for part in value]
    if isinstance(value, dict):
        return {key: told(part) for key, part in value.items()}
    return json.dumps(value)


@REUSED
@given(st.lists(st.dictionaries(TEXT, JSON_VALUES, max_size=4), max_size=6), st.booleans())
def test_what_a_json_writer_wrote_is_read_from_an_array_and_from_lines(
    tmp_path: Path, objects: list[dict[str, Any]], indented: bool
) -> None:
    array = written(tmp_path, "x.json", json.dumps(objects, indent=2 if indented else None))
    assert [found for _, found in fields(JsonRows(array))] == [told(one) for one in objects]
    if objects:
        lines = written(tmp_path, "x.jsonl", "\n".join(json.dumps(one) for one in objects))
        assert fields(JsonRows(lines)) == [(n, told(one)) for n, one in enumerate(objects, 1)]


def test_lines_of_an_array_are_those_on_which_objects_begin(tmp_path: Path) -> None:
    text = '\n[{"a": 1},\n\n  {"a":\n 2}, 7,\n {"a": 3, "a": 4}]\n'
    rows = list(JsonRows(written(tmp_path, "x.json", text)))
    assert fields(rows) == [(2, {"a": "1"}), (4, {"a": "2"})]
    assert faults(rows) == [(5, "not_an_object"), (6, "repeated_field")]
    assert rows[-1].raw == b'{"a": 3, "a": 4}'


def test_a_line_that_is_no_json_is_one_fault(tmp_path: Path) -> None:
    text = b'{"a": 0.10}\n{"a": \n[]\n{"a": "\\ud800"}\n\xff\n' + b"[" * 100_000 + b'\n{"a": NaN}'
    rows = list(JsonRows(written(tmp_path, "x.jsonl", text)))
    assert fields(rows) == [(1, {"a": "0.10"}), (7, {"a": "NaN"})]
    assert isinstance(rows[0], Row)
    assert isinstance(rows[0].fields["a"], Number)
    assert faults(rows) == [
        (2, "malformed_json"),
        (3, "not_an_object"),
        (4, "malformed_encoding"),
        (5, "malformed_json"),
        (6, "malformed_json"),
    ]


@pytest.mark.parametrize("text", ["[", "[{}", "[{} {}]", "[{},]", "[{}] x", "[nul]", "  "])
def test_an_array_that_is_not_whole_is_no_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnreadableFileError, match=r"line 1|nothing in it"):
        list(JsonRows(written(tmp_path, "x.json", text)))


@REUSED
@given(st.text('[]{},:"1 \nae\\u', max_size=40))
def test_no_text_breaks_the_json_reader(tmp_path: Path, junk: str) -> None:
    try:
        rows = list(JsonRows(written(tmp_path, "x.json", junk)))
    except UnreadableFileError:
        return
    assert all(isinstance(row, Row | BadRow) for row in rows)


def test_parquet_is_told_as_text_with_all_digits(tmp_path: Path) -> None:
    at = datetime(2024, 8, 9, 0, 0, 0, 123456, UTC)
    table = pa.table(
        {
            "decimal": pa.array([Decimal("0.10"), None], pa.decimal128(18, 8)),
            "double": pa.array([1e-8, 0.1], pa.float64()),
            "single": pa.array([0.1, 2.5], pa.float32()),
            "whole": pa.array([2**62, 7], pa.int64()),
            "day": pa.array([date(2024, 8, 9), None], pa.date32()),
            "at": pa.array([at, None], pa.timestamp("ns", "UTC")),
            "local": pa.array([at.replace(tzinfo=None), None], pa.timestamp("ms")),
            "word": pa.array(["BTC", None]).dictionary_encode(),
            "many": pa.array([[1, 2], None], pa.list_(pa.int8())),
            "bits": pa.array([b"\x01", None]),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    rows = ParquetRows(tmp_path / "x.parquet")
    assert rows.names == tuple(table.column_names)
    (first, second) = rows
    assert isinstance(first, Row)
    assert first.line == 1
    assert first.fields == {
        "decimal": "0.10000000",
        "double": "1e-8",
        "single": "0.1",
        "whole": str(2**62),
        "day": "2024-08-09",
        "at": "2024-08-09T00:00:00.123456+00:00",
        "local": "2024-08-09T00:00:00.123000",
        "word": "BTC",
        "many": ["1", "2"],
        "bits": "01",
    }
    assert isinstance(second, Row)
    assert second.fields["double"] == "0.1"
    assert second.fields["decimal"] is None


def test_what_is_no_parquet_is_no_file(tmp_path: Path) -> None:
    for content in (b"", b"junk", b"PAR1junkPAR1"):
        with pytest.raises(UnreadableFileError, match="not_parquet"):
            ParquetRows(written(tmp_path, "x.parquet", content))
