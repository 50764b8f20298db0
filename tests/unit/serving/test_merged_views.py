"""The merged view against plain Python: in every situation, on random rows, and broken."""

import pytest
from bar_versions import Version, every_situation, expected, layers
from hypothesis import HealthCheck, given, settings
from view_bench import Bench


def test_every_situation_of_a_key(bench: Bench) -> None:
    tables = every_situation()
    bench.fill(*tables)
    assert bench.merged() == expected(*tables)


@given(layers())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_merged_bars_are_those_of_a_plain_merge(
    bench: Bench, tables: tuple[list[Version], list[Version]]
) -> None:
    bench.fill(*tables)
    assert bench.merged() == expected(*tables)


BROKEN = {
    "a tie goes to speed": {
        "seen.last_offset <= batch.last_offset": "seen.last_offset < batch.last_offset",
        "batch.last_offset < newest.last_offset": "batch.last_offset <= newest.last_offset",
    },
    "a tie goes to nobody": {
        "seen.last_offset <= batch.last_offset": "seen.last_offset < batch.last_offset"
    },
    "a tie goes to both": {
        "batch.last_offset < newest.last_offset": "batch.last_offset <= newest.last_offset"
    },
    "batch always wins": {
        "seen.last_offset IS NULL OR seen.last_offset <= batch.last_offset": "true",
        "batch.last_offset IS NULL OR batch.last_offset < newest.last_offset": (
            "batch.last_offset IS NULL"
        ),
    },
    "all versions count": {"newest.version = 1": "true"},
    "the oldest version counts": {"ORDER BY last_offset DESC": "ORDER BY last_offset"},
    "tombstones show": {"WHERE trade_count > 0": ""},
    "tombstones are hidden before the merge": {
        "FROM lake.gold.bars_1m AS batch": (
            "FROM (FROM lake.gold.bars_1m WHERE trade_count > 0) AS batch"
        ),
        "LEFT JOIN lake.gold.bars_1m AS batch": (
            "LEFT JOIN (FROM lake.gold.bars_1m WHERE trade_count > 0) AS batch"
        ),
    },
    "speed tombstones are hidden before the merge": {
        "FROM lake.gold.bars_1m_rt": "FROM lake.gold.bars_1m_rt WHERE trade_count > 0"
    },
    "the key forgets the symbol": {"AND batch.symbol = seen.symbol": ""},
    "the key forgets the minute": {"AND batch.window_start = newest.window_start": ""},
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_does_not_pass(name: str) -> None:
    bench = Bench(BROKEN[name])
    tables = every_situation()
    bench.fill(*tables)
    assert bench.merged() != expected(*tables)
