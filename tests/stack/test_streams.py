"""Every stream and a dropped file through the real stack: what Trino serves equals the oracles."""

import json
from datetime import datetime

import pytest
from chaos.oracles import Logs, check_batch_tables, check_refusals, check_views
from stack.running import RunningStack

import schemas
from lakehouse.kafka import CUSTOMERS_TOPIC, FILLS_TOPIC, QUOTES_TOPIC

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1200)]

OTHERS = ("quotes", "spreads_1m", "fills", "positions")
PERSONAL = [column.name for column in schemas.contract("silver.customers").columns if column.pii]


def test_the_oracles_know_of_every_stream_and_of_something_refused(streams: Logs) -> None:
    for topic in (QUOTES_TOPIC, FILLS_TOPIC, CUSTOMERS_TOPIC):
        assert streams.events(topic)
        assert streams.repeated(topic)
    assert streams.judged[QUOTES_TOPIC].refused
    assert streams.judged[FILLS_TOPIC].refused
    assert streams.refused_by_producers


def test_what_the_speed_layer_serves_of_them_is_exact(stack: RunningStack, streams: Logs) -> None:
    statuses = check_views(stack, streams)
    assert all("PROVISIONAL" in statuses[view] for view in OTHERS), statuses


def test_batch_on_the_cluster_confirms_them(
    stack: RunningStack, streams: Logs, confirmed: tuple[str, ...]
) -> None:
    check_refusals(stack, streams)
    check_batch_tables(stack, streams)
    statuses = check_views(stack, streams)
    assert {view: statuses[view] for view in OTHERS} == {view: {"RECONCILED"} for view in OTHERS}


def test_the_layers_agree_on_every_table(
    stack: RunningStack, streams: Logs, confirmed: tuple[str, ...]
) -> None:
    records = json.loads(stack.run("reconcile", *confirmed, "--json", deadline_seconds=900))
    twins = {name for name, one in schemas.contracts().items() if one.batch_twin is not None}
    assert {f"{record['table']}_rt" for record in records} == twins
    assert {(record["verdict"], record["drifted"]) for record in records} == {("AGREE", 0)}
    check_views(stack, streams)


def test_a_dropped_file_tells_of_an_instrument(
    stack: RunningStack, confirmed: tuple[str, ...]
) -> None:
    (load,) = stack.rows("SELECT DISTINCT file_name, status FROM ops.file_loads")
    assert load == {"file_name": "instruments_2024-08-09.csv", "status": "LOADED"}
    told = stack.rows(
        "SELECT DISTINCT symbol, kind FROM serving.market_daily WHERE tick_size IS NOT NULL"
    )
    assert told == [{"symbol": "BTCUSDT", "kind": "SPOT"}]


def test_a_customer_is_erased_and_that_is_on_record(
    stack: RunningStack, streams: Logs, confirmed: tuple[str, ...]
) -> None:
    (customer, *_) = (
        row["customer_id"]
        for row in stack.rows(
            "SELECT customer_id FROM silver.customers WHERE is_current AND name IS NOT NULL "
            "AND customer_id NOT IN (SELECT customer_id FROM ops.erasures) ORDER BY 1"
        )
    )
    before = json.loads(stack.run("customers", "show", customer, "--json"))
    assert any(state["name"] for state in before)
    erased = json.loads(stack.run("erase", "--customer", customer, "--json"))
    assert json.loads(stack.run("erase", "--customer", customer, "--json")) == erased
    recorded = stack.rows(f"SELECT * FROM ops.erasures WHERE customer_id = '{customer}'")
    assert [row["erased_at"] for row in recorded] == [datetime.fromisoformat(erased["erased_at"])]
    after = json.loads(stack.run("customers", "show", customer, "--json"))
    assert after == [state | dict.fromkeys(PERSONAL) for state in before]
    check_batch_tables(stack, streams)
