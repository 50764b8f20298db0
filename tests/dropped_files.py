"""A lake without a log, and files to drop into it; what bronze made of them."""

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog

import schemas
from ingestion.files.drop_folder import DropFolder
from ingestion.files.loader import FileLoader
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from schemas import file_datasets, tables

HEADER = (
    "venue,symbol,base_currency,quote_currency,kind,tick_size,lot_size,contract_size,effective_date"
)
TABLES = ("bronze.dead_letters", "ops.file_loads")


def instrument(symbol: str = "BTCUSDT", **changes: str) -> dict[str, str]:
    """A row of a file of instruments."""
    row = ("binance_spot", symbol, "BTC", "USDT", "SPOT", "0.01", "0.00001", "", "")
    return dict(zip(HEADER.split(","), row, strict=True)) | changes


def csv_of(*rows: Mapping[str, str]) -> str:
    """A CSV file of some rows, which all have the columns of the first."""
    names = list(rows[0])
    lines = [",".join(names), *(",".join(row[name] for name in names) for row in rows)]
    return "\n".join(lines) + "\n"


def parquet_of(*rows: Mapping[str, Any]) -> bytes:
    """A Parquet file of some rows, with the types of their values."""
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), file)
    return file.getvalue()


class FileLake:
    """The tables of files in a home, and its drop folder."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        self.settings = settings
        self.catalog: Catalog = load_catalog(settings)
        wanted = [*TABLES, *(dataset.table for dataset in file_datasets().values())]
        tables.apply(self.catalog, [schemas.contract(name) for name in wanted])
        self.folder = DropFolder(settings.drops, file_datasets())
        self.folder.make()
        self.loader = FileLoader(self.catalog, self.folder, **options)

    def put(self, name: str, content: str | bytes, dataset: str = "instruments") -> Path:
        """Write a file into the drop folder."""
        path = self.folder.root / dataset / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return all rows of a table."""
        found: list[dict[str, Any]] = self.catalog.load_table(table).scan().to_arrow().to_pylist()
        return found

    def lines(self, table: str = "bronze.files_instruments") -> Counter[tuple[str, int]]:
        """Return which lines of which files are in a table, and how often."""
        return Counter((row["file_name"], row["line_number"]) for row in self.rows(table))

    def refused_lines(self) -> Counter[str]:
        """Return which lines of which files are dead letters, and how often."""
        return Counter(row["source"] for row in self.rows("bronze.dead_letters"))

    def verdicts(self) -> list[tuple[str, str]]:
        """Return every verdict with its file, in order."""
        rows = sorted(self.rows("ops.file_loads"), key=lambda row: row["recorded_at"])
        return [(row["file_name"], row["status"]) for row in rows]

    def lying(self) -> list[str]:
        """Return every file of the drop folder, as dataset and name; what is done, by what."""
        found: Iterable[Path] = self.folder.root.rglob("*")
        return sorted(
            str(path.relative_to(self.folder.root))
            for path in found
            if path.name != ".lock"
            if path.is_file()
        )
