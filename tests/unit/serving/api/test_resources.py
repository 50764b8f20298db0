"""What the resources answer: filters, ranges, tiers, times gone by."""

from collections.abc import Callable
from typing import Any

import pytest
from served_rows import Lake, bar_of
from starlette.testclient import TestClient

from serving.api.resources import RESOURCES

pytestmark = pytest.mark.serving

BTC = {"symbol": "BTCUSDT"}


def offsets(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [row["last_offset"] for row in answer.json()["data"]]


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.name)
def test_every_resource_has_the_columns_that_it_states(client: TestClient, resource: Any) -> None:
    for interval, relation in resource.relations.items():
        asked = {"interval": interval} if interval else {}
        answer = client.get(resource.path.replace("{customer}", "C-1"), params=asked)
        assert answer.status_code == 200, answer.text
        rows = answer.json()["data"]
        assert rows
        assert list(rows[0]) == [column.name for column in relation.columns]


def test_a_row_has_all_its_digits_and_says_its_layer(client: TestClient) -> None:
    answer = client.get("/v1/bars", params=BTC)
    assert offsets(answer) == [0, 1, 2, 50]
    last = answer.json()["data"][-1]
    assert last["close"] == "150.00000000"
    assert last["notional"] == "300.0000000000000000"
    assert last["window_start"] == "2024-08-08T12:03:00.000000Z"
    assert last["status"] == "PROVISIONAL"


def test_an_answer_says_how_far_to_trust_it(client: TestClient) -> None:
    meta = client.get("/v1/bars", params=BTC).json()["meta"]
    assert 0 <= meta.pop("seconds_since_commit") < 300
    assert meta == {
        # How far behind the log the tables are is not for the time of a commit to say.
        "freshness_seconds": None,
        "tier": "merged",
        "as_of": None,
        "offsets": {"0": 50},
        "status": {"RECONCILED": 3, "PROVISIONAL": 1},
        "degraded": None,
    }


def test_several_names_and_a_range_of_time(client: TestClient) -> None:
    both = {"symbol": ["ETHUSDT", "BTCUSDT"], "venue": "binance_spot"}
    minutes = {"start": "2024-08-08T12:01:00Z", "end": "2024-08-08T14:02:00+02:00"}
    assert offsets(client.get("/v1/bars", params=both | minutes)) == [1, 11]
    assert offsets(client.get("/v1/bars", params={"symbol": "NOBODY"})) == []


def test_what_batch_has_confirmed(client: TestClient) -> None:
    answer = client.get("/v1/bars", params=BTC | {"tier": "reconciled"})
    assert offsets(answer) == [0, 1, 2]
    assert answer.json()["meta"]["offsets"] == {"0": 2}


def test_hours_are_made_of_merged_minutes(client: TestClient) -> None:
    answer = client.get("/v1/bars", params=BTC | {"interval": "1h"})
    assert offsets(answer) == [50]
    assert answer.json()["data"][0]["trade_count"] == 4
    assert answer.json()["meta"]["offsets"] == {"0": 50}


def test_a_time_gone_by(client: TestClient, lake: Lake, now: Callable[[], str]) -> None:
    asked = {"symbol": "PASTUSDT"}
    lake.append("gold.bars_1m_rt", [bar_of(0, 70, "PASTUSDT")])
    then = now()
    lake.append("gold.bars_1m_rt", [bar_of(1, 71, "PASTUSDT")])
    assert offsets(client.get("/v1/bars", params=asked)) == [70, 71]
    past = client.get("/v1/bars", params=asked | {"as_of": then})
    assert offsets(past) == [70]
    meta = past.json()["meta"]
    assert (meta["as_of"], meta["freshness_seconds"], meta["offsets"]) == (then, None, {"0": 70})


def test_a_time_to_come_is_no_history(client: TestClient) -> None:
    problem = client.get("/v1/bars", params={"as_of": "2199-01-01T00:00:00Z"})
    assert (problem.status_code, problem.json()["type"]) == (422, "/problems/no-history")
    assert "yet to come" in problem.json()["detail"]


def test_without_a_live_tier_its_rows_are_refused(client: TestClient) -> None:
    problem = client.get("/v1/bars", params={"tier": "live"})
    assert (problem.status_code, problem.json()["type"]) == (503, "/problems/no-live-tier")
    problem = client.get("/v1/bars", params={"tier": "live", "interval": "1h"})
    assert (problem.status_code, problem.json()["type"]) == (422, "/problems/no-live-rows")


def test_reconciliations_come_the_latest_first(client: TestClient) -> None:
    said = client.get("/v1/reconciliations").json()["data"]
    assert [row["run_id"] for row in said] == ["run-2", "run-1", "run-0"]


def test_dead_letters_are_counted_by_reason(client: TestClient) -> None:
    said = client.get("/v1/dead-letters", params={"topic": "market.trades"}).json()["data"]
    assert [(row["reason"], row["rows"], row["newest"]) for row in said] == [
        ("too_large", 2, "2024-08-08T12:01:00.000000Z"),
        ("unknown_schema_id", 1, "2024-08-08T12:00:00.000000Z"),
    ]


def test_offsets_are_the_rows_own_by_partition(client: TestClient, lake: Lake) -> None:
    symbols = ("ONEUSDT", "TWOUSDT", "TREUSDT")
    for place, symbol in enumerate(symbols):
        partition = place % 2
        batch = bar_of(0, 900 + place, symbol) | {"log_partition": partition}
        speed = bar_of(1, 800 + place, symbol) | {"log_partition": partition}
        lake.append("gold.bars_1m", [batch])
        lake.append("gold.bars_1m_rt", [speed])

    def said(**asked: Any) -> dict[str, int]:
        answer = client.get("/v1/bars", params={"symbol": symbols} | asked)
        return answer.json()["meta"]["offsets"]

    assert said() == {"0": 902, "1": 901}
    assert said(start="2024-08-08T12:01:00Z") == {"0": 802, "1": 801}
    assert said(interval="1h") == {"0": 902, "1": 901}
    assert said(symbol="TWOUSDT") == {"1": 901}
