"""Which reader a file is for, by its name."""

from pathlib import Path
from typing import Final

from ingestion.files.csv_rows import CsvRows
from ingestion.files.json_rows import JsonRows
from ingestion.files.parquet_rows import ParquetRows
from ingestion.files.rows import GZIP_SUFFIX, RowSource, UnreadableFileError
from schemas import FileDataset

READERS: Final[dict[str, tuple[str, type[CsvRows] | type[JsonRows] | type[ParquetRows]]]] = {
    ".csv": ("csv", CsvRows),
    ".json": ("json", JsonRows),
    ".jsonl": ("json", JsonRows),
    ".ndjson": ("json", JsonRows),
    ".parquet": ("parquet", ParquetRows),
}


def open_rows(path: Path, dataset: FileDataset) -> RowSource:
    """Open a file of a dataset, by the format that its name ends with.

    Raises:
        UnreadableFileError: The dataset has no files of that format, or it cannot be read.
    """
    is_gzip = path.suffix == GZIP_SUFFIX
    name = path.name.removesuffix(GZIP_SUFFIX) if is_gzip else path.name
    form, reader = READERS.get(Path(name).suffix.lower(), ("", None))
    if reader is None or form not in dataset.formats:
        known = [suffix for suffix, (form, _) in READERS.items() if form in dataset.formats]
        raise UnreadableFileError(
            "unsupported_format", f"files of {dataset.name} end in {', '.join(known)}"
        )
    if is_gzip and reader is ParquetRows:
        # It is read from its end, and its columns are compressed anyway.
        raise UnreadableFileError("unsupported_format", "Parquet is taken as it is, not gzipped")
    return reader(path)
