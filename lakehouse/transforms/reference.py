"""Reference data: from rows of dropped files to what is known of an instrument and of a day.

A file is judged by its contract before its rows are in bronze, so every value here can be read.
Of two rows about the same thing the one of the file that was loaded later counts; within a file,
the later line.
"""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

# Whose bars are those of a file that names no venue: all venues' together.
CONSOLIDATED = "consolidated"
# A day in a file's name, such as instruments_2024-08-09.csv; no part of a longer number.
_DAY_IN_NAME = r"(?<![0-9])([0-9]{4})-?([0-9]{2})-?([0-9]{2})(?![0-9])"
_STEP, _PRICE = "decimal(18,8)", "decimal(18,8)"


def instruments(rows: DataFrame) -> DataFrame:
    """Tell what each instrument is, and from when to when.

    A row holds from its effective date; without one, from the date in its file's name; without
    either, from the UTC day on which its file was loaded. It holds until the next one of the
    instrument does. An instrument that a later file leaves out stays as it was.

    Args:
        rows: Rows of ``bronze.files_instruments``.

    Returns:
        Grain: (venue, symbol, valid_from). ``valid_to`` (excluded; null while there is no later
        row), ``is_current``; currencies and ``kind``; ``tick_size`` and ``contract_size`` in quote
        currency, ``lot_size`` in base units or contracts; ``file_name``, ``checksum`` and
        ``loaded_at`` of the file that says so.
    """
    texts = ("venue", "symbol", "base_currency", "quote_currency", "kind")
    steps = ("tick_size", "lot_size", "contract_size")
    found = _read(rows, (*texts, *steps, "effective_date")).select(
        *texts,
        *(F.col(name).try_cast(_STEP).alias(name) for name in steps),
        F.coalesce(
            _day(F.col("effective_date")), _day_in(F.col("file_name")), F.to_date("loaded_at")
        ).alias("valid_from"),
        *_LINEAGE,
    )
    newest = _last_said(found, ("venue", "symbol", "valid_from"))
    in_order = Window.partitionBy("venue", "symbol").orderBy("valid_from")
    return newest.withColumn("valid_to", F.lead("valid_from").over(in_order)).withColumn(
        "is_current", F.col("valid_to").isNull()
    )


def eod_bars(rows: DataFrame) -> DataFrame:
    """Tell each day's bar as the last file that has it says.

    Args:
        rows: Rows of ``bronze.files_eod_bars``.

    Returns:
        Grain: (venue, symbol, business_date). Prices and ``adjusted_close`` in quote currency per
        base unit, ``volume`` in base units; ``venue`` is ``consolidated`` where the file names
        none; ``file_name``, ``checksum`` and ``loaded_at`` of the file that says so.
    """
    prices = ("open", "high", "low", "close")
    names = ("venue", "symbol", "business_date", *prices, "volume", "adjusted_close")
    found = _read(rows, names).select(
        F.coalesce("venue", F.lit(CONSOLIDATED)).alias("venue"),
        "symbol",
        _day(F.col("business_date")).alias("business_date"),
        *(F.col(name).try_cast(_PRICE).alias(name) for name in prices),
        F.col("volume").try_cast("decimal(38,8)").alias("volume"),
        F.col("adjusted_close").try_cast("decimal(38,16)").alias("adjusted_close"),
        *_LINEAGE,
    )
    return _last_said(found, ("venue", "symbol", "business_date"))


# Which file said it, and on which line.
_LINEAGE = ("file_name", "checksum", "loaded_at", "line_number")


def _read(rows: DataFrame, names: Sequence[str]) -> DataFrame:
    """Take the values of some fields, as text, out of each row's JSON."""
    schema = ", ".join(f"{name} string" for name in names)
    return (
        rows.withColumnRenamed("ingested_at", "loaded_at")
        .select(F.from_json("row_json", schema).alias("said"), *_LINEAGE)
        .select("said.*", *_LINEAGE)
    )


def _last_said(found: DataFrame, key: Sequence[str]) -> DataFrame:
    """Keep of the rows of one key the last line of the last file."""
    last_first = Window.partitionBy(*key).orderBy(
        F.col("loaded_at").desc(), F.col("line_number").desc()
    )
    return (
        found.withColumn("place", F.row_number().over(last_first))
        .where("place = 1")
        .drop("place", "line_number")
    )


def _day(text: Column) -> Column:
    """Read a day, or the midnight that some programs write for it."""
    return F.substring(text, 1, 10).try_cast("date")


def _day_in(file_name: Column) -> Column:
    """Return the first day that a file's name has; null if it has none, or one that never was."""
    parts = (F.regexp_extract(file_name, _DAY_IN_NAME, part) for part in (1, 2, 3))
    return F.concat_ws("-", *parts).try_cast("date")
