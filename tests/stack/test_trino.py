"""Trino of a running stack: who reads what, what is refused, and that its views are exact."""

import base64
import http.client
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from chaos.oracles import Logs
from pydantic import SecretStr
from pyiceberg.catalog import Catalog
from runbook_queries import RUNBOOK_QUERIES
from stack.running import RunningStack

import schemas
from lakehouse.catalog import load_catalog
from lakehouse.settings import Settings
from schemas import tables
from serving.engine import QueryError, SqlEngine, UnknownTableError
from serving.publication import Outcome, apply
from serving.trino_engine import AccessDeniedError, TrinoEngine
from serving.views import view_names, view_sources

pytestmark = pytest.mark.stack

README = Path(__file__).resolve().parents[2] / "README.md"
SECONDS = 10.0
# Twice what infra/trino/password-authenticator.properties has between two looks.
KNOWN_SECONDS = 20.0
# Of infra/trino/resource-groups.json: those that run at the same time.
QUERIES_OF_AN_ANALYST = 2
StackSettings = Callable[[str], Settings]
VIEW_SOURCES = sorted({s for view in view_names() for s in view_sources(view)} - set(view_names()))


@pytest.fixture
def analyst(analyst_settings: Settings) -> Iterator[TrinoEngine]:
    engine = TrinoEngine(analyst_settings)
    yield engine
    engine.close()


def ask(
    settings: Settings, method: str, path: str, body: str | None = None, **headers: str
) -> tuple[int, bytes]:
    """Ask Trino as the user of ``settings`` and return status and body."""
    address = urlsplit(str(settings.trino))
    context = ssl.create_default_context(cafile=str(settings.ca_file))
    connection = http.client.HTTPSConnection(
        str(address.hostname), address.port, timeout=SECONDS, context=context
    )
    if settings.trino_password:
        login = f"{settings.trino_username}:{settings.trino_password.get_secret_value()}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def as_user(settings: Settings, user: str) -> Settings:
    """The settings of a user who is no role of ours: its password is in the home."""
    password = (settings.home / "secrets" / f"trino-{user}").read_text()
    change = {"trino_username": user, "trino_password": SecretStr(password)}
    return settings.model_copy(update=change)


def test_views_are_applied_and_a_second_time_unchanged(stack_settings: StackSettings) -> None:
    apply(stack_settings("orchestration"))
    done = apply(stack_settings("orchestration"))
    assert {one.view: one.outcome for one in done if one.outcome is not Outcome.FOREIGN} == (
        dict.fromkeys(view_names(), Outcome.UNCHANGED)
    )


@pytest.mark.parametrize("relation", ["gold.bars_1m", "gold.bars_1m_rt", *view_names()])
def test_an_analyst_reads_gold_and_the_merged_views(analyst: TrinoEngine, relation: str) -> None:
    assert analyst.query(f"SELECT count(*) AS n FROM {relation}").num_rows == 1


@pytest.mark.parametrize(
    "relation",
    sorted(n for n in schemas.contracts() if n.partition(".")[0] in ("bronze", "silver", "ops")),
)
def test_an_analyst_is_refused_what_is_not_for_analysts(
    analyst: TrinoEngine, relation: str
) -> None:
    with pytest.raises(AccessDeniedError, match=f"Cannot select from table lake.{relation}"):
        analyst.query(f"SELECT * FROM {relation}")


def test_an_analyst_does_not_see_that_it_exists(analyst: TrinoEngine) -> None:
    assert {name.partition(".")[0] for name in analyst.relations()} == {"gold", "serving"}
    for catalogue in ("information_schema.columns", "information_schema.tables"):
        seen = analyst.query(f"SELECT DISTINCT table_schema FROM {catalogue}").column(0)
        assert set(seen.to_pylist()) <= {"gold", "serving", "information_schema"}
    listed = analyst.query("SELECT DISTINCT table_schem FROM system.jdbc.tables").column(0)
    assert not {"bronze", "silver", "ops"} & set(listed.to_pylist())
    with pytest.raises(AccessDeniedError):
        analyst.query('SELECT * FROM gold."bars_1m$files"')


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE gold.mine (a integer)",
        "CREATE SCHEMA lake.mine",
        "CREATE OR REPLACE VIEW serving.mine AS SELECT 1 AS a",
        "INSERT INTO gold.bars_1m SELECT * FROM gold.bars_1m",
        "DELETE FROM gold.bars_1m",
        "DROP VIEW serving.bars_1m",
        "ALTER TABLE gold.bars_1m EXECUTE expire_snapshots(retention_threshold => '8d')",
        "ALTER TABLE gold.bars_1m EXECUTE remove_orphan_files(retention_threshold => '8d')",
        "EXECUTE IMMEDIATE 'ALTER TABLE gold.bars_1m EXECUTE optimize'",
        "ANALYZE gold.bars_1m",
        "CALL lake.system.rollback_to_snapshot('gold', 'bars_1m', 1)",
        "SELECT * FROM TABLE(lake.system.table_changes('silver', 'trades', 1, 2))",
        "GRANT SELECT ON gold.bars_1m TO USER analyst",
        "SET SESSION query_max_memory = '100GB'",
        "SET SESSION AUTHORIZATION orchestration",
        "SELECT * FROM system.runtime.nodes",
    ],
)
def test_an_analyst_changes_nothing(analyst: TrinoEngine, statement: str) -> None:
    with pytest.raises(AccessDeniedError, match=r"Access Denied|may not run"):
        analyst.query(statement)


def test_an_unknown_table_is_no_secret(analyst: TrinoEngine) -> None:
    with pytest.raises(UnknownTableError, match="nope"):
        analyst.query("SELECT * FROM gold.nope")


def test_a_wrong_password_is_refused(analyst_settings: Settings) -> None:
    wrong = analyst_settings.model_copy(update={"trino_password": SecretStr("a guess")})
    with pytest.raises(AccessDeniedError, match="refuses user analyst"):
        TrinoEngine(wrong).query("SELECT 1")


def test_nobody_asks_without_a_password_or_as_another(analyst_settings: Settings) -> None:
    nobody = analyst_settings.model_copy(update={"trino_password": None})
    status, _ = ask(nobody, "POST", "/v1/statement", "SELECT 1", **{"X-Trino-User": "analyst"})
    assert status == 401
    # The query is taken, and refused before it runs.
    status, said = ask(
        analyst_settings, "POST", "/v1/statement", "SELECT 1", **{"X-Trino-User": "orchestration"}
    )
    while status == 200 and "nextUri" in (answer := json.loads(said)):
        status, said = ask(analyst_settings, "GET", urlsplit(answer["nextUri"]).path)
    assert b"cannot impersonate user orchestration" in said


def test_plain_http_is_not_answered(analyst_settings: Settings) -> None:
    address = urlsplit(str(analyst_settings.trino))
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{address.netloc}/v1/info", timeout=SECONDS)


def test_only_the_monitor_reads_metrics_and_nothing_else(analyst_settings: Settings) -> None:
    monitor = as_user(analyst_settings, "monitor")
    status, body = ask(monitor, "GET", "/metrics")
    assert status == 200
    assert b"trino_execution_name_QueryManager" in body
    assert ask(analyst_settings, "GET", "/metrics")[0] == 403
    with pytest.raises(AccessDeniedError, match="Cannot execute query"):
        TrinoEngine(monitor).query("SELECT 1")


def test_serving_reads_the_audit_trail_and_writes_nothing(stack_settings: StackSettings) -> None:
    engine = TrinoEngine(stack_settings("serving"))
    assert engine.query("SELECT count(*) FROM ops.runs").num_rows == 1
    assert engine.query("SELECT count(*) FROM silver.trades").num_rows == 1
    for statement in ("SELECT * FROM bronze.market_trades", "DELETE FROM ops.runs"):
        with pytest.raises(AccessDeniedError):
            engine.query(statement)


@pytest.mark.parametrize(("query", "user"), RUNBOOK_QUERIES)
def test_a_query_of_the_runbook_runs_in_trino_too(
    stack_settings: StackSettings, query: str, user: str
) -> None:
    engine = TrinoEngine(as_user(stack_settings("serving"), user))
    engine.query(query)
    engine.close()


# A short query may see itself on its way to the end.
MINE = (
    "SELECT DISTINCT resource_group_id FROM system.runtime.queries "
    "WHERE state NOT IN ('FINISHED', 'FAILED')"
)


def test_each_query_runs_in_its_users_group(
    analyst: TrinoEngine, analyst_settings: Settings, stack_settings: StackSettings
) -> None:
    for engine, group in (
        (analyst, ["lake", "analysts", "analyst"]),
        (TrinoEngine(as_user(analyst_settings, "dashboard")), ["lake", "dashboards"]),
        (TrinoEngine(stack_settings("serving")), ["lake", "serving"]),
    ):
        assert engine.query(MINE).column(0).to_pylist() == [group]


def test_another_analyst_is_let_in_like_the_first_and_out_again(
    stack: RunningStack, analyst_settings: Settings
) -> None:
    stack.run("stack", "analyst", "jane")
    jane = TrinoEngine(as_user(analyst_settings, "analyst_jane"))

    def is_let_in() -> bool:
        try:
            return jane.query("SELECT count(*) FROM serving.bars_1m").num_rows == 1
        except AccessDeniedError:
            return False

    stack.wait_until(is_let_in, "Trino knows of another analyst", deadline_seconds=KNOWN_SECONDS)
    with pytest.raises(AccessDeniedError, match=r"Cannot select from table lake.silver.trades"):
        jane.query("SELECT * FROM silver.trades")
    assert jane.query(MINE).column(0).to_pylist() == [["lake", "analysts", "analyst_jane"]]
    assert TrinoEngine(analyst_settings).query("SELECT 1 AS n").num_rows == 1
    stack.run("stack", "analyst", "jane", "--remove")
    stack.wait_until(
        lambda: not is_let_in(), "Trino knows who is gone", deadline_seconds=KNOWN_SECONDS
    )
    with pytest.raises(AccessDeniedError, match="refuses user analyst_jane"):
        jane.query("SELECT 1")


HEAVY = """
    SELECT count(*) FROM UNNEST(sequence(1, 10000)) AS a (x)
    CROSS JOIN UNNEST(sequence(1, 10000)) AS b (y) CROSS JOIN UNNEST(sequence(1, 10000)) AS c (z)
    WHERE (x * y + z) % 7 = 0
"""
# On two cores that an analyst keeps busy; alone it takes one or two.
DASHBOARD_SECONDS = 30.0


def test_a_heavy_analyst_waits_and_a_dashboard_does_not(
    analyst_settings: Settings, stack_settings: StackSettings
) -> None:
    orchestration = stack_settings("orchestration")
    watcher = TrinoEngine(orchestration)

    def at_work() -> dict[str, str]:
        rows = watcher.query(
            "SELECT query_id, state FROM system.runtime.queries "
            "WHERE \"user\" = 'analyst' AND state NOT IN ('FINISHED', 'FAILED')"
        ).to_pylist()
        return {row["query_id"]: row["state"] for row in rows}

    with ThreadPoolExecutor() as analysts:
        asked = [
            analysts.submit(TrinoEngine(analyst_settings).query, HEAVY)
            for _ in range(QUERIES_OF_AN_ANALYST + 1)
        ]
        try:
            deadline = time.monotonic() + DASHBOARD_SECONDS
            while sorted(at_work().values()) != ["QUEUED", *["RUNNING"] * QUERIES_OF_AN_ANALYST]:
                assert time.monotonic() < deadline, at_work()
            began = time.monotonic()
            dashboard = TrinoEngine(as_user(analyst_settings, "dashboard"))
            assert dashboard.query("SELECT count(*) FROM serving.bars_1m").num_rows == 1
            took = time.monotonic() - began
            assert list(at_work().values()).count("RUNNING") == QUERIES_OF_AN_ANALYST
        finally:
            for query in at_work():
                ask(orchestration, "DELETE", f"/v1/query/{query}")
    assert took < DASHBOARD_SECONDS
    assert all(isinstance(one.exception(), QueryError) for one in asked)


@dataclass(frozen=True)
class Copy:
    """The tables that are asked for, in an embedded lake, as they were at one moment."""

    original: Catalog
    duckdb: SqlEngine
    snapshots: dict[str, int | None]

    def moved(self) -> list[str]:
        return [name for name, at in self.snapshots.items() if snapshot(self.original, name) != at]


def snapshot(catalog: Catalog, table: str) -> int | None:
    current = catalog.load_table(table).current_snapshot()
    return current.snapshot_id if current else None


@pytest.fixture(scope="session")
def copy(
    streams: Logs, stack_settings: StackSettings, tmp_path_factory: pytest.TempPathFactory
) -> Copy:
    there = load_catalog(stack_settings("serving"))
    here = load_catalog(Settings(home=tmp_path_factory.mktemp("copy")))
    named = {name for name in schemas.contracts() if any(name in query for query in QUERIES)}
    copied = sorted(named | set(VIEW_SOURCES))
    tables.apply(here, [schemas.contract(name) for name in copied])
    snapshots = {name: snapshot(there, name) for name in copied}
    for name, at in snapshots.items():
        if at is not None:
            rows = there.load_table(name).scan(snapshot_id=at).to_arrow()
            here.load_table(name).append(rows)
    return Copy(there, SqlEngine(here), snapshots)


def same_answers(copy: Copy, trino: TrinoEngine, query: str) -> int:
    """Hold the engines' answers against each other, while the lake is at rest; count the rows."""
    answer = trino.query(query)
    assert not copy.moved(), f"{copy.moved()} changed meanwhile: this needs a lake at rest"
    expected = copy.duckdb.query(query)
    assert answer.column_names == expected.column_names
    # Not the tables themselves: text has two layouts in Arrow.
    assert answer.to_pylist() == expected.to_pylist()
    return answer.num_rows


@pytest.mark.parametrize("view", view_names())
def test_trinos_views_return_what_duckdbs_do(copy: Copy, analyst: TrinoEngine, view: str) -> None:
    key = {
        "serving.trades": "venue, symbol, event_time, trade_id",
        "serving.quotes": "venue, symbol, event_time, update_id",
        "serving.market_daily": "venue, symbol, business_date",
        "serving.fills": "customer_id, fill_id",
        "serving.positions": "customer_id, venue, symbol",
    }.get(view, "venue, symbol, window_start")
    query = f"SELECT * FROM {view} ORDER BY {key}"
    assert same_answers(copy, analyst, query) > 0


QUERIES = re.findall(r"```sql\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_readme_has_queries() -> None:
    assert len(QUERIES) >= 5


@pytest.mark.parametrize("query", QUERIES)
def test_the_readmes_queries_answer_alike_on_both_engines(
    copy: Copy, analyst: TrinoEngine, query: str
) -> None:
    same_answers(copy, analyst, query)
