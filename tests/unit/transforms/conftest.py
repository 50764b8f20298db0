"""Log records for the transforms, made of plain events."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from trade_log import NOON, RECORDS, SCHEMA_JSON, payload

from lakehouse.transforms.events import decode
from lakehouse.transforms.trades import (
    observe,
    validate,
)


@pytest.fixture
def decoded(spark: SparkSession) -> Callable[..., DataFrame]:
    """Decode and validate payloads that stand at offsets 0, 1, … of one partition."""

    def run(payloads: list[bytes], poison: Iterable[tuple[int, int]] = ()) -> DataFrame:
        rows = [(0, 0, offset, NOON, value) for offset, value in enumerate(payloads)]
        records = spark.createDataFrame(rows, RECORDS)
        return validate(
            decode(
                records,
                writer_schemas={1: SCHEMA_JSON},
                reader_schema=SCHEMA_JSON,
                max_payload_bytes=1_000_000,
                poison=poison,
            )
        )

    return run


@pytest.fixture
def observed(decoded: Callable[..., DataFrame]) -> Callable[..., DataFrame]:
    """Observe events given as field dictionaries, in log order."""

    def run(*events: dict[str, Any]) -> DataFrame:
        return observe(decoded([payload(**event) for event in events]))

    return run
