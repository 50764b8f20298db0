"""The audit of files, ``ops.file_loads``: what became of each that was dropped."""

import json
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, EqualTo, Reference
from pyiceberg.expressions.literals import literal

from ingestion.files.once import append_once

FILE_LOADS: Final = "ops.file_loads"


class Status(StrEnum):
    """What became of a file."""

    LOADED = "LOADED"
    DUPLICATE = "DUPLICATE"
    REFUSED = "REFUSED"


@dataclass(frozen=True)
class FileLoad:
    """The verdict on one file; fields as in the contract of ``ops.file_loads``."""

    dataset: str
    file_name: str
    checksum: str
    size_bytes: int
    status: Status
    rows_loaded: int = 0
    rows_refused: int = 0
    drift: tuple[str, ...] = ()
    detail: str | None = None
    load_id: str = field(default_factory=lambda: uuid.uuid4().hex)


class FileLog:
    """Appends to and reads ``ops.file_loads``."""

    def __init__(self, catalog: Catalog, clock: Callable[[], datetime]) -> None:
        self._catalog = catalog
        self._clock = clock

    def record(self, load: FileLoad) -> None:
        """Append a verdict; of a file's bytes, LOADED is said once for each dataset."""
        is_load = load.status is Status.LOADED
        known = _loaded(load.dataset, load.checksum) if is_load else f"load_id = '{load.load_id}'"
        schema = self._catalog.load_table(FILE_LOADS).schema().as_arrow()
        row = asdict(load) | {
            "status": load.status.value,
            "drift": json.dumps(load.drift, ensure_ascii=False) if load.drift else None,
        }
        append_once(
            self._catalog,
            FILE_LOADS,
            known=known,
            chunks=lambda now: iter(
                [pa.Table.from_pylist([row | {"recorded_at": now}], schema=schema)]
            ),
            clock=self._clock,
            summary={},
        )

    def loaded_as(self, dataset: str, checksum: str) -> str | None:
        """Return the name of the file that a dataset has these bytes from, if it has them."""
        table, known = self._catalog.load_table(FILE_LOADS), _loaded(dataset, checksum)
        rows = table.scan(row_filter=known, selected_fields=("file_name",)).to_arrow()
        return str(rows["file_name"][0].as_py()) if len(rows) else None

    def verdict(self, dataset: str, name: str) -> dict[str, Any] | None:
        """Return the newest verdict on a file of that name, if there is one."""
        table = self._catalog.load_table(FILE_LOADS)
        known = And(
            EqualTo(term=Reference("dataset"), value=literal(dataset)),
            EqualTo(term=Reference("file_name"), value=literal(name)),
        )
        rows = table.scan(row_filter=known).to_arrow().sort_by([("recorded_at", "descending")])
        return next(iter(rows.to_pylist()), None)

    def newest(self, count: int) -> list[dict[str, Any]]:
        """Return the newest verdicts, newest first."""
        rows = self._catalog.load_table(FILE_LOADS).scan().to_arrow()
        newest: list[dict[str, Any]] = rows.sort_by([("recorded_at", "descending")]).to_pylist()
        return newest[:count]


def _loaded(dataset: str, checksum: str) -> str:
    # What was loaded into the wrong dataset must not be kept out of the right one.
    return f"dataset = '{dataset}' and checksum = '{checksum}' and status = '{Status.LOADED}'"
