"""The verdict: two results compared row by row, column by column, digit by digit."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

# Enough to see a pattern, few enough to read.
SHOWN_DIFFERENCES = 10


class Difference(NamedTuple):
    """One value that differs; `column` is "(row)" when a whole row is missing or too many."""

    key: tuple[Any, ...]
    column: str
    expected: Any
    actual: Any

    def __str__(self) -> str:
        key = " ".join(
            part.isoformat() if isinstance(part, date) else str(part) for part in self.key
        )
        return f"{key}: {self.column} should be {self.expected}, is {self.actual}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a comparison found; `differences` holds all of them, in key order."""

    rows: int
    values: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def __str__(self) -> str:
        if self.equal:
            return f"EQUAL: {self.rows} rows, {self.values} values, to the last digit"
        shown = [f"  {difference}" for difference in self.differences[:SHOWN_DIFFERENCES]]
        more = len(self.differences) - len(shown)
        return "\n".join(
            [f"DIFFERENT: {len(self.differences)} differences in {self.rows} rows"]
            + shown
            + ([f"  … and {more} more"] if more else [])
        )


def compare(
    expected: Mapping[Any, Any],
    actual: Iterable[Mapping[str, Any]],
    *,
    key: tuple[str, ...] = ("venue", "symbol", "window_start"),
    ignore: Collection[str] = (),
) -> Verdict:
    """Compare rows that a query returned with the rows that the oracle expects.

    `expected` holds the oracle's rows, dataclasses or mappings (its own keys are not used);
    `actual` holds mappings by column name, in any order, with columns that the oracle doesn't know
    left alone.
    Decimals are equal when their values are, whatever their scale; a text in place of a decimal
    or a time is read as one; a float is never equal to a decimal. A column that is missing, a row
    that is missing, one too many and a second row of a key are differences.
    """
    wanted = {_key(_columns(row), key): _columns(row) for row in expected.values()}
    differences: list[Difference] = []
    seen: set[tuple[Any, ...]] = set()
    values = 0
    for row in actual:
        row_key = _key(row, key)
        if row_key in seen or row_key not in wanted:
            problem = "a second row" if row_key in seen else "a row"
            differences.append(Difference(row_key, "(row)", "nothing", problem))
            continue
        seen.add(row_key)
        for column, value in wanted[row_key].items():
            if column in ignore:
                continue
            values += 1
            found = row.get(column, "no such column")
            if not _same(value, found):
                differences.append(Difference(row_key, column, value, found))
    differences += [Difference(lost, "(row)", "a row", "nothing") for lost in wanted.keys() - seen]
    return Verdict(
        rows=len(wanted),
        values=values,
        differences=tuple(sorted(differences, key=lambda d: (str(d.key), d.column))),
    )


def _columns(row: Any) -> dict[str, Any]:
    if isinstance(row, Mapping):
        return dict(row)
    return {field.name: getattr(row, field.name) for field in fields(row)}


def _key(row: Mapping[str, Any], key: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(_plain(name, row[name]) for name in key)


def _plain(name: str, value: Any) -> Any:
    """Return a key value in the one form that both sides share: times as UTC datetimes."""
    if isinstance(value, str) and name == "business_date":
        return date.fromisoformat(value)
    if isinstance(value, str) and name in ("window_start", "event_time"):
        value = datetime.fromisoformat(value)
    # A time without a zone is left as it is, and equals none of the oracle's.
    zoned = isinstance(value, datetime) and value.tzinfo is not None
    return value.astimezone(UTC) if zoned else value


def _same(expected: Any, found: Any) -> bool:
    if expected is None or found is None:
        return expected is found
    if isinstance(found, str) and not isinstance(expected, str):
        return _reads_as(expected, found)
    # A float that happens to print the same digits has still been through a sum of floats.
    return not isinstance(found, float) and bool(expected == found)


def _reads_as(expected: Any, text: str) -> bool:
    try:
        match expected:
            case Decimal():
                return Decimal(text) == expected
            case datetime():
                return datetime.fromisoformat(text) == expected
            case date():
                return date.fromisoformat(text) == expected
            case _:
                return text == str(expected)
    except (ValueError, ArithmeticError):
        return False
