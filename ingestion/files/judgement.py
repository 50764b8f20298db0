"""A file before the contract: what its columns are, and whether it may be loaded at all.

A column that the contract does not know is loaded with the rest and noted. A required column that
is not there, or one none of whose values can be read as its type, breaks the contract: nothing of
the file is loaded.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ingestion.files.rows import BadRow, Row, RowSource, UnreadableFileError
from ingestion.files.values import ValueFaultError, check_value
from lakehouse.errors import LakehouseError
from schemas import FileColumn, FileDataset


class BreakingDriftError(LakehouseError):
    """A file's columns are not those of the contract, in a way that no reader would survive.

    Attributes:
        field: The column.
    """

    def __init__(self, dataset: str, field: str, problem: str) -> None:
        super().__init__(f"{dataset}.{field}: {problem}")
        self.field = field


@dataclass(frozen=True)
class Header:
    """A file's columns, by their names in the file.

    Attributes:
        known: Those that the contract states.
        added: Those that it does not, in the file's order.
    """

    known: Mapping[str, FileColumn]
    added: tuple[str, ...]

    def bronze(self, row: Row) -> str | BadRow:
        """Return a row as bronze keeps it, a JSON object; or why it must not be loaded."""
        fields = {}
        for name, column in self.known.items():
            value = row.fields.get(name)
            try:
                check_value(column, value)
            except ValueFaultError as fault:
                return BadRow(row.line, fault.reason, fault.detail, row.raw)
            fields[column.name] = value
        for name in self.added:
            if name in row.fields:
                fields[name] = row.fields[name]
        try:
            return json.dumps(fields, ensure_ascii=False)
        except RecursionError as error:
            return BadRow(row.line, "malformed_json", str(error), row.raw)


def judge_header(dataset: FileDataset, names: Iterable[str]) -> Header:
    """Find the contract's columns among the names that a file uses.

    Names are compared without regard to case and to what stands between words.

    Raises:
        BreakingDriftError: A required column is missing, or a column is there twice.
    """
    by_word = {
        _word(word): column
        for column in dataset.columns
        for word in (column.name, *column.synonyms)
    }
    known: dict[str, FileColumn] = {}
    added: list[str] = []
    taken: dict[str, str] = {}
    for name in names:
        column = by_word.get(_word(name))
        meant = column.name if column else name
        if meant in taken:
            raise BreakingDriftError(
                dataset.name, meant, f"is there twice, as {taken[meant]!r} and as {name!r}"
            )
        taken[meant] = name
        if column is None:
            added.append(name)
        else:
            known[name] = column
    for column in dataset.columns:
        if column.required and column.name not in taken:
            raise BreakingDriftError(dataset.name, column.name, "the required column is missing")
    return Header(known, tuple(added))


def judge(dataset: FileDataset, rows: RowSource) -> Header:
    """Judge a whole file; goes no further than until every column has a value of its type.

    Raises:
        BreakingDriftError: The file breaks the contract; names the field.
        UnreadableFileError: It cannot be read to where it must be.
    """
    names = rows.names if rows.names is not None else _names_of(rows)
    header = judge_header(dataset, names)
    unproven = dict(header.known)
    faults: dict[str, str] = {}
    for row in rows:
        if not unproven:
            break
        if isinstance(row, Row):
            _prove(row, unproven, faults)
    for name, fault in faults.items():
        raise BreakingDriftError(
            dataset.name,
            header.known[name].name,
            f"has changed its type, none of its values can be read; {fault}",
        )
    return header


def _prove(row: Row, unproven: dict[str, FileColumn], faults: dict[str, str]) -> None:
    """Take out the columns of which the row has a value of the right type."""
    for name, column in list(unproven.items()):
        value = row.fields.get(name)
        if value is None or value == "":
            continue
        try:
            check_value(column, value)
        except ValueFaultError as fault:
            if fault.is_type:
                faults.setdefault(name, f"the first is on line {row.line}: {fault.detail}")
                continue
        del unproven[name]
        faults.pop(name, None)


def _names_of(rows: RowSource) -> list[str]:
    """Return the names that any of the rows has, in the order in which they turn up."""
    names: dict[str, None] = {}
    for row in rows:
        if isinstance(row, Row):
            names |= dict.fromkeys(row.fields)
    if not names:
        raise UnreadableFileError("empty_file", "it has no row that can be read")
    return list(names)


def _word(name: str) -> str:
    """Return a name as it is compared: ``Trade-Date`` and ``tradeDate`` are ``tradedate``."""
    return re.sub(r"[\W_]+", "", name).casefold()
