"""Which logical types the codec takes: what it does not convert must not be converted otherwise."""

import json
from typing import Any

import pytest

from schemas.conversions import conversions
from schemas.registry import ContractRegistry

MICROS = {"type": "long", "logicalType": "timestamp-micros"}


def record(name: str, type_: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": "value", "type": type_}]}


@pytest.mark.parametrize("nested", [MICROS, ["null", MICROS], record("Inner", MICROS)])
@pytest.mark.parametrize("optional", [False, True])
def test_a_logical_type_within_a_record_is_refused(nested: Any, optional: bool) -> None:
    inside: Any = record("Row", nested)
    with pytest.raises(ValueError, match="within a record"):
        conversions(record("Event", ["null", inside] if optional else inside))


def test_a_record_of_plain_types_needs_no_conversion() -> None:
    schema = json.loads(ContractRegistry().schema_for(30))
    assert [name for name, _ in conversions(schema)] == ["ts_us"]
