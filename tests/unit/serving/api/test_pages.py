"""A walk through pages gives the whole, each row once, whatever the size of a page."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served_rows import MINUTE, NOON, Lake, bar_of, row_of
from starlette.testclient import TestClient

import schemas
from serving.api.asking import Ask
from serving.api.gate import FAILURES_TO_OPEN
from serving.api.paging import cursor_after
from serving.api.problems import ProblemError
from serving.api.query import page_query
from serving.api.relations import Relation
from serving.api.resources import RESOURCES

pytestmark = pytest.mark.serving

BY_NAME = {resource.name: resource for resource in RESOURCES}
TRADES, RECONCILIATIONS = (BY_NAME[name].sample for name in ("trades", "reconciliations"))


def ask_for(relation: Relation, limit: int = 100, after: str | None = None, **more: Any) -> Ask:
    plain = {"tier": None, "as_of": None, "named": (), "start": None, "end": None}
    return Ask(relation, after=after, limit=limit, **(plain | more))


class Table:
    """A relation's rows in DuckDB, asked with the API's own queries."""

    def __init__(self, relation: Relation, rows: list[dict[str, Any]]) -> None:
        self.relation = relation
        schema = relation.name.partition(".")[0]
        arrow = schemas.contract(relation.contract).arrow_schema()
        loose = pa.schema(field.with_nullable(True) for field in arrow)
        self.connection = duckdb.connect(config={"threads": 1})
        self.connection.execute(f"SET TimeZone = 'UTC'; CREATE SCHEMA {schema}")
        self.connection.register("given", pa.Table.from_pylist(rows, schema=loose))
        extra = ", 'RECONCILED' AS status" if relation.is_merged else ""
        self.connection.execute(f"CREATE TABLE {relation.name} AS SELECT *{extra} FROM given")

    def page(self, ask: Ask) -> list[dict[str, Any]]:
        sql = page_query(ask).sql(dialect="duckdb")
        return self.connection.execute(sql).to_arrow_table().to_pylist()

    def walk(self, limit: int) -> Iterator[dict[str, Any]]:
        after = None
        while True:
            ask = ask_for(self.relation, limit, after)
            found = self.page(ask)
            yield from found[:limit]
            if len(found) <= limit:
                return
            after = cursor_after(ask, found[limit - 1])


trades = st.lists(
    st.tuples(
        st.sampled_from(["a", "b'; DROP TABLE x; --"]),
        st.sampled_from(["BTC", "ETH"]),
        st.integers(0, 3),
        st.integers(-3, 3),
    ),
    unique=True,
    max_size=30,
)


@given(trades, st.integers(1, 12))
@settings(max_examples=60)
def test_any_size_of_pages_gives_the_whole_once(keys: list[Any], limit: int) -> None:
    rows = [
        row_of(
            "silver.trades",
            venue=venue,
            symbol=symbol,
            event_time=NOON + timedelta(microseconds=at),
            trade_id=trade,
        )
        for venue, symbol, at, trade in keys
    ]
    walked = [
        (row["venue"], row["symbol"], (row["event_time"] - NOON).microseconds, row["trade_id"])
        for row in Table(TRADES, rows).walk(limit)
    ]
    assert walked == sorted(keys)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("xyz")), unique=True), st.integers(1, 5)
)
@settings(max_examples=40)
def test_also_where_the_latest_comes_first(keys: list[tuple[int, str]], limit: int) -> None:
    rows = [
        row_of("ops.reconciliations", recorded_at=NOON + at * MINUTE, run_id=run)
        for at, run in keys
    ]
    walked = [
        ((row["recorded_at"] - NOON) // MINUTE, row["run_id"])
        for row in Table(RECONCILIATIONS, rows).walk(limit)
    ]
    assert walked == sorted(keys, key=lambda key: (-key[0], key[1]))


def test_rows_that_come_meanwhile_disturb_no_walk(client: TestClient, lake: Lake) -> None:
    def bars(*minutes: int) -> list[dict[str, Any]]:
        return [bar_of(minute, 100 + minute, "WALKUSDT") for minute in minutes]

    lake.append("gold.bars_1m", bars(1, 3, 5))
    asked: dict[str, Any] = {"symbol": "WALKUSDT", "limit": 2}
    first = client.get("/v1/bars", params=asked).json()
    lake.append("gold.bars_1m", bars(2, 4, 6))
    second = client.get("/v1/bars", params=asked | {"cursor": first["next"]}).json()
    third = client.get("/v1/bars", params=asked | {"cursor": second["next"]}).json()
    walked = [row["last_offset"] - 100 for page in (first, second, third) for row in page["data"]]
    assert walked == [1, 3, 4, 5, 6]  # 2 came behind the walk
    assert third["next"] is None


def test_the_link_leads_to_the_next_page(client: TestClient) -> None:
    first = client.get("/v1/bars", params={"limit": 3}, headers={"Accept": "text/csv"})
    assert client.get(first.links["next"]["url"]).json()["data"][0]["last_offset"] == 50


def spelled(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "%%%",
        spelled(),
        spelled("0" * 16, "a", "b"),
        spelled("f", "a", "b", "soon"),
        spelled("f", "a", "b", "2024-08-08"),
        spelled("f", 1, 2, 3),
        spelled("f", "a", None, NOON.isoformat()),
    ],
)
def test_what_is_no_cursor_is_refused(client: TestClient, cursor: str) -> None:
    problem = client.get("/v1/bars", params={"cursor": cursor})
    assert (problem.status_code, problem.json()["type"]) == (400, "/problems/invalid-cursor")


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/v1/bars", ["a", "b", "0001-01-01T00:00:00+14:00"]),
        ("/v1/bars", ["a", "\ud800", NOON.isoformat()]),
        ("/v1/trades", ["a", "b", NOON.isoformat(), 10**30]),
    ],
)
def test_no_cursor_that_is_made_up_reaches_the_engine(
    client: TestClient, path: str, place: list[Any]
) -> None:
    following = client.get(path, params={"limit": 1}).json()["next"]
    fingerprint, *_ = json.loads(base64.urlsafe_b64decode(f"{following}=="))
    for _ in range(FAILURES_TO_OPEN + 1):
        problem = client.get(path, params={"cursor": spelled(fingerprint, *place)})
        assert (problem.status_code, problem.json()["type"]) == (400, "/problems/invalid-cursor")
    assert client.get(path).status_code == 200


def test_a_cursor_belongs_to_its_query(client: TestClient) -> None:
    cursor = client.get("/v1/bars", params={"limit": 1}).json()["next"]
    for other in ({"symbol": "BTCUSDT"}, {"tier": "reconciled"}, {"interval": "1h"}):
        problem = client.get("/v1/bars", params=other | {"cursor": cursor})
        assert problem.status_code == 400
        assert "another query" in problem.json()["detail"]
    assert client.get("/v1/bars", params={"limit": 9, "cursor": cursor}).status_code == 200


def test_a_text_is_a_value_and_never_sql() -> None:
    name = "'; DROP TABLE silver.trades; --"
    table = Table(TRADES, [row_of("silver.trades", venue=name)])
    assert [row["venue"] for row in table.page(ask_for(TRADES, named=(("venue", (name,)),)))] == [
        name
    ]
    for dialect in ("duckdb", "trino"):
        sql = page_query(ask_for(TRADES, named=(("venue", (name,)),))).sql(dialect=dialect)
        assert "'''; DROP TABLE silver.trades; --'" in sql


def test_trino_is_asked_for_microseconds() -> None:
    sql = page_query(ask_for(TRADES, start=NOON)).sql(dialect="trino")
    assert "CAST('2024-08-08 12:00:00.000000 UTC' AS TIMESTAMP(6) WITH TIME ZONE)" in sql
    with pytest.raises(ProblemError, match="none of this API's"):
        page_query(ask_for(TRADES, after="x"))
