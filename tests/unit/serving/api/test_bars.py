"""One resource, all the way: filters, ranges, tiers, what answers say of themselves."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

pytestmark = pytest.mark.serving

Row = dict[str, Any]
BTC = {"symbol": "BTCUSDT"}


def offsets(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [row["last_offset"] for row in answer.json()["data"]]


def test_a_row_has_all_its_digits_and_says_its_layer(client: TestClient, bars: list[Row]) -> None:
    answer = client.get("/v1/bars", params=BTC)
    assert offsets(answer) == [0, 1, 2, 50]
    last = answer.json()["data"][-1]
    assert last["close"] == "150.00000000"
    assert last["notional"] == "300.0000000000000000"
    assert last["window_start"] == "2024-08-08T12:03:00.000000Z"
    assert last["status"] == "PROVISIONAL"
    assert "log_partition" not in last


def test_an_answer_says_how_far_to_trust_it(client: TestClient, bars: list[Row]) -> None:
    meta = client.get("/v1/bars", params=BTC).json()["meta"]
    assert 0 <= meta.pop("freshness_seconds") < 60
    assert meta == {
        "tier": "merged",
        "as_of": None,
        "offsets": {"0": 50},
        "status": {"RECONCILED": 3, "PROVISIONAL": 1},
        "degraded": None,
    }


def test_several_names_and_a_range_of_time(client: TestClient, bars: list[Row]) -> None:
    both = {"symbol": ["ETHUSDT", "BTCUSDT"], "venue": "binance_spot"}
    minutes = {"start": "2024-08-08T12:01:00Z", "end": "2024-08-08T14:02:00+02:00"}
    assert offsets(client.get("/v1/bars", params=both | minutes)) == [1, 11]
    assert offsets(client.get("/v1/bars", params={"symbol": "NOBODY"})) == []


def test_what_batch_has_confirmed(client: TestClient, bars: list[Row]) -> None:
    answer = client.get("/v1/bars", params=BTC | {"tier": "reconciled"})
    assert offsets(answer) == [0, 1, 2]
    assert answer.json()["meta"]["offsets"] == {"0": 2}


def test_hours_are_made_of_merged_minutes(client: TestClient, bars: list[Row]) -> None:
    answer = client.get("/v1/bars", params=BTC | {"interval": "1h"})
    assert offsets(answer) == [50]
    assert answer.json()["data"][0]["trade_count"] == 4
    assert answer.json()["meta"]["offsets"] == {"0": 50}


def test_a_time_gone_by(
    client: TestClient, bars: list[Row], append: Any, bar: Any, now: Any
) -> None:
    then = now()
    append("gold.bars_1m_rt", [bar(4, last_offset=60)])
    assert offsets(client.get("/v1/bars", params=BTC)) == [0, 1, 2, 50, 60]
    past = client.get("/v1/bars", params=BTC | {"as_of": then})
    assert offsets(past) == [0, 1, 2, 50]
    assert past.json()["meta"]["as_of"] == then
    assert past.json()["meta"]["freshness_seconds"] is None
    assert past.json()["meta"]["offsets"] == {"0": 50}


def test_a_time_to_come_is_no_history(client: TestClient, bars: list[Row]) -> None:
    problem = client.get("/v1/bars", params={"as_of": "2199-01-01T00:00:00Z"})
    assert (problem.status_code, problem.json()["type"]) == (422, "/problems/no-history")
    assert "yet to come" in problem.json()["detail"]


def test_without_a_live_tier_its_rows_are_refused(client: TestClient, bars: list[Row]) -> None:
    problem = client.get("/v1/bars", params={"tier": "live"})
    assert (problem.status_code, problem.json()["type"]) == (503, "/problems/no-live-tier")
    problem = client.get("/v1/bars", params={"tier": "live", "interval": "1h"})
    assert (problem.status_code, problem.json()["type"]) == (422, "/problems/no-live-rows")


def test_dead_letters_are_counted_by_reason(client: TestClient, append: Any) -> None:
    noon = datetime(2024, 8, 8, 12, tzinfo=UTC)
    columns = {"topic": "market.trades", "stage": "lander", "ingested_at": noon}
    rows = [{**columns, "reason": reason} for reason in ("unknown_schema_id", "too_large")]
    rows.append({**rows[-1], "ingested_at": noon + timedelta(minutes=1)})
    append("bronze.dead_letters", rows)
    answer = client.get("/v1/dead-letters", params={"topic": "market.trades"})
    assert answer.json()["data"] == [
        {
            "topic": "market.trades",
            "stage": "lander",
            "reason": reason,
            "rows": count,
            "newest": newest,
        }
        for reason, count, newest in (
            ("too_large", 2, "2024-08-08T12:01:00.000000Z"),
            ("unknown_schema_id", 1, "2024-08-08T12:00:00.000000Z"),
        )
    ]
