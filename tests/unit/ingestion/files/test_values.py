"""One value after another, against the contract and against Python's own decimals."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.types import DateType, DecimalType, LongType, StringType, TimestamptzType

from ingestion.files.rows import Number
from ingestion.files.values import ValueFaultError, check_value
from schemas import FileColumn


def column(kind: object, **rules: object) -> FileColumn:
    return FileColumn("price", kind, rules.pop("required", False), "What.", **rules)  # type: ignore[arg-type]


MONEY = column(DecimalType(18, 8))
DAY, TIME = column(DateType()), column(TimestamptzType())


def reason(of: FileColumn, value: object) -> str | None:
    try:
        check_value(of, value)
    except ValueFaultError as fault:
        return fault.reason if fault.detail.startswith("price is ") else "column not named"
    return None


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        ("1", None),
        ("-1.50", None),
        (".5", None),
        (Number("1e-8"), None),
        ("1.000000000000", None),  # zeros need no digits
        ("9999999999.99999999", None),
        ("10000000000", "decimal_out_of_range"),
        ("0.000000001", "decimal_out_of_range"),
        ("1e999", "decimal_out_of_range"),
        ("1e9999", "malformed_decimal"),
        ("1,5", "malformed_decimal"),
        ("NaN", "malformed_decimal"),
        (Number("Infinity"), "malformed_decimal"),
        ("\u0661", "malformed_decimal"),
        (" 1", "malformed_decimal"),
        (True, "wrong_type"),
        ([1], "wrong_type"),
    ],
)
def test_decimals(value: object, verdict: str | None) -> None:
    assert reason(MONEY, value) == verdict


@given(st.integers(-(10**20), 10**20), st.integers(0, 12))
def test_a_decimal_is_taken_if_and_only_if_its_column_holds_it(units: int, places: int) -> None:
    number = Decimal(units).scaleb(-places)
    held = units * 10**8 % 10**places == 0 and abs(units) < 10 ** (places + 10)
    for text in (format(number, "f"), str(number), f"{number:e}"):
        assert (reason(MONEY, text) is None) == held, text


@pytest.mark.parametrize(
    ("of", "value", "verdict"),
    [
        (column(LongType()), "9223372036854775807", None),
        (column(LongType()), "9223372036854775808", "integer_out_of_range"),
        (column(LongType()), "1.0", "malformed_integer"),
        (column(LongType(), minimum=Decimal(0)), "-1", "out_of_range"),
        (column(DecimalType(9, 2), above=Decimal(0)), "0.00", "out_of_range"),
        (column(DecimalType(9, 2), minimum=Decimal(0)), "0.00", None),
        (DAY, "2024-02-29", None),
        (DAY, "2023-02-29", "malformed_date"),
        (DAY, "20240229", "malformed_date"),
        (DAY, "2024-02-29T00:00:00", None),
        (DAY, "2024-02-29T00:00:01", "malformed_date"),
        (TIME, "2024-08-09T00:00:00Z", None),
        (TIME, "2024-08-09T00:00:00.123456+02:00", None),
        (TIME, "1723161254087896", None),
        (TIME, "2024-08-09T00:00:00", "malformed_timestamp"),
        (TIME, "yesterday", "malformed_timestamp"),
        (TIME, "999999999999999999", "timestamp_out_of_range"),
        (column(StringType()), Number("700"), "wrong_type"),
        (column(StringType(), pattern="[A-Z]+"), "btc", "pattern_mismatch"),
        (column(StringType(), pattern="[A-Z]+"), "BTC\n", "pattern_mismatch"),
        (column(StringType(), values=("BUY", "SELL")), "HOLD", "unknown_value"),
        (column(StringType(), required=True), None, "missing_value"),
        (column(StringType(), required=True), "", "missing_value"),
        (column(DecimalType(9, 2), above=Decimal(0)), None, None),
    ],
)
def test_other_types_and_rules(of: FileColumn, value: object, verdict: str | None) -> None:
    assert reason(of, value) == verdict


def test_only_what_is_of_another_type_speaks_against_the_column() -> None:
    for value, is_type in (("x", True), (True, True), ("99999999999", False)):
        with pytest.raises(ValueFaultError) as fault:
            check_value(MONEY, value)
        assert fault.value.is_type == is_type
