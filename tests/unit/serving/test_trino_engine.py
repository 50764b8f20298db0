"""The Trino engine on a client that answers as it is told."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from trino import exceptions

from lakehouse import resilience
from lakehouse.settings import Settings
from serving import trino_engine
from serving.engine import QueryError, SqlEngine, TimeIsUpError, UnknownTableError
from serving.engines import sql_engine
from serving.statements import InvalidSqlError
from serving.trino_engine import (
    AccessDeniedError,
    TrinoEngine,
    TrinoSettingsError,
    UnreachableError,
)

pytestmark = pytest.mark.serving

BARS = [("symbol", "varchar"), ("vwap", "decimal(38, 8)")]


class FakeCursor:
    """Gives the answers that the test has put in, in their order; an error is raised."""

    def __init__(self, answers: deque[Any]) -> None:
        self.answers = answers
        self.statements: list[str] = []
        self.cancelled = False

    def execute(self, sql: str) -> None:
        self.statements.append(sql)
        answer = self.answers.popleft()
        if isinstance(answer, BaseException):
            raise answer
        columns, self.rows = answer
        self.description = [SimpleNamespace(name=n, type_code=t) for n, t in columns]

    def fetchmany(self, size: int) -> list[list[Any]]:
        page, self.rows = self.rows[:size], self.rows[size:]
        return page

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def stack(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        trino="https://localhost:8443",
        trino_username="serving",
        **{"trino_password": "of serving"},
        ca_file=tmp_path / "ca.pem",
    )


@pytest.fixture
def answers() -> deque[Any]:
    return deque()


@pytest.fixture
def cursor(answers: deque[Any], monkeypatch: pytest.MonkeyPatch) -> FakeCursor:
    cursor = FakeCursor(answers)
    monkeypatch.setattr(trino_engine.Connection, "cursor", lambda _: cursor)
    monkeypatch.setattr(resilience, "LONGEST_WAIT_SECONDS", 0.0)
    return cursor


@pytest.fixture
def engine(stack: Settings, cursor: FakeCursor) -> TrinoEngine:
    return TrinoEngine(stack)


def refusal(name: str, *, kind: str = "USER_ERROR", located: bool = False) -> Exception:
    error = {"errorName": name, "errorType": kind, "message": f"it says {name}"}
    place = {"errorLocation": {"lineNumber": 1, "columnNumber": 8}} if located else {}
    return exceptions.TrinoUserError(error | place, "20240809_1")


def lost(cause: Exception) -> Exception:
    error = exceptions.TrinoConnectionError(f"failed to execute: {cause}")
    error.__context__ = cause
    return error


def test_rows_come_as_exact_arrow(engine: TrinoEngine, answers: deque[Any]) -> None:
    answers.append((BARS, [["BTCUSDT", Decimal("0.12345678")], ["ETHUSDT", None]]))
    rows = engine.query("SELECT symbol, vwap FROM serving.bars_1m;")
    assert rows.to_pylist() == [
        {"symbol": "BTCUSDT", "vwap": Decimal("0.12345678")},
        {"symbol": "ETHUSDT", "vwap": None},
    ]


def test_no_rows_have_columns_too(engine: TrinoEngine, answers: deque[Any]) -> None:
    answers.append((BARS, []))
    rows = engine.query("SELECT 1")
    assert rows.num_rows == 0
    assert [str(kind) for kind in rows.schema.types] == ["string", "decimal128(38, 8)"]


def test_long_answers_are_read_by_the_page(
    engine: TrinoEngine, answers: deque[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trino_engine, "PAGE_ROWS", 2)
    answers.append(([("n", "bigint"), ("n", "bigint")], [[n, -n] for n in range(5)]))
    rows = engine.query("SELECT n, -n AS n FROM numbers")
    assert [column.to_pylist() for column in rows.columns] == [[0, 1, 2, 3, 4], [0, -1, -2, -3, -4]]


def test_the_semicolon_that_people_end_with_is_left_out(
    engine: TrinoEngine, cursor: FakeCursor, answers: deque[Any]
) -> None:
    answers.append((BARS, []))
    engine.query(" SELECT 1 ;\n")
    assert cursor.statements == ["SELECT 1 "]


def test_relations(engine: TrinoEngine, answers: deque[Any]) -> None:
    named = [("table_schema", "varchar"), ("table_name", "varchar")]
    answers.append((named, [["gold", "bars_1m"], ["serving", "bars_1m"]]))
    assert engine.relations() == ("gold.bars_1m", "serving.bars_1m")


@pytest.mark.parametrize(
    ("raised", "expected", "said"),
    [
        (refusal("SYNTAX_ERROR", located=True), InvalidSqlError, "SYNTAX_ERROR"),
        (refusal("COLUMN_NOT_FOUND", located=True), InvalidSqlError, "COLUMN_NOT_FOUND"),
        (refusal("TABLE_NOT_FOUND", located=True), UnknownTableError, "TABLE_NOT_FOUND"),
        (refusal("SCHEMA_NOT_FOUND", located=True), UnknownTableError, "SCHEMA_NOT_FOUND"),
        (refusal("PERMISSION_DENIED"), AccessDeniedError, "PERMISSION_DENIED"),
        (refusal("QUERY_REJECTED"), AccessDeniedError, "may not run statements of this kind"),
        (refusal("DIVISION_BY_ZERO"), QueryError, "query 20240809_1"),
        (refusal("EXCEEDED_MEMORY_LIMIT", kind="INSUFFICIENT_RESOURCES"), QueryError, "EXCEEDED"),
        (exceptions.HttpError("error 401: b'no'"), AccessDeniedError, "refuses user serving"),
        (lost(requests.exceptions.SSLError("unknown")), TrinoSettingsError, "LAKEHOUSE_CA_FILE"),
    ],
)
def test_errors_say_what_to_do_and_are_not_tried_again(
    engine: TrinoEngine, cursor: FakeCursor, raised: Exception, expected: type, said: str
) -> None:
    cursor.answers.append(raised)
    with pytest.raises(expected, match=said):
        engine.query("SELECT 1")
    assert len(cursor.statements) == 1


def test_there_must_be_a_statement(engine: TrinoEngine) -> None:
    with pytest.raises(InvalidSqlError, match="there is no statement"):
        engine.query(" ; ")


@pytest.mark.parametrize(
    "passing",
    [
        lost(requests.exceptions.ConnectionError("refused")),
        exceptions.Http503Error("error 503: service unavailable"),
        refusal("SERVER_STARTING_UP", kind="INTERNAL_ERROR"),
    ],
)
def test_a_lost_connection_is_tried_again(
    engine: TrinoEngine, answers: deque[Any], passing: Exception
) -> None:
    answers.extend([passing, passing, (BARS, [["BTCUSDT", None]])])
    assert engine.query("SELECT 1").num_rows == 1


def test_who_does_not_come_back_is_unreachable(
    engine: TrinoEngine, answers: deque[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trino_engine, "RETRY_SECONDS", 0.0)
    answers.append(lost(requests.exceptions.ConnectionError("refused")))
    with pytest.raises(UnreachableError, match="localhost:8443 does not answer"):
        engine.query("SELECT 1")


def test_ctrl_c_cancels_the_query(
    engine: TrinoEngine, cursor: FakeCursor, answers: deque[Any]
) -> None:
    answers.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        engine.query("SELECT 1")
    assert cursor.cancelled


def test_only_the_installations_authority_is_trusted(stack: Settings) -> None:
    session = TrinoEngine(stack)._session
    merged = session.merge_environment_settings(str(stack.trino), {}, None, None, None)
    assert merged["verify"] == str(stack.ca_file)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"trino": "http://localhost:8080"}, "TLS only"),
        ({"trino": "localhost:8443"}, "TLS only"),
        ({"trino_username": None}, "LAKEHOUSE_TRINO_USERNAME"),
        ({"trino_password": None}, "LAKEHOUSE_TRINO_PASSWORD"),
    ],
)
def test_settings_that_will_not_do_are_refused(
    stack: Settings, change: dict[str, Any], problem: str
) -> None:
    with pytest.raises(TrinoSettingsError, match=problem):
        TrinoEngine(stack.model_copy(update=change))


def test_settings_choose_the_engine(stack: Settings, settings: Settings) -> None:
    assert isinstance(sql_engine(stack), TrinoEngine)
    assert isinstance(sql_engine(settings), SqlEngine)


class SlowCursor(FakeCursor):
    """Runs until it is cancelled; then it has no more rows, as Trino's client has it."""

    def __init__(self) -> None:
        super().__init__(deque())
        self._ended = Event()

    def execute(self, sql: str) -> None:
        self.statements.append(sql)
        assert self._ended.wait(20)
        self.description, self.rows = [], []

    def cancel(self) -> None:
        super().cancel()
        self._ended.set()


def test_a_query_is_cancelled_when_its_time_is_over(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor = SlowCursor()
    monkeypatch.setattr(trino_engine.Connection, "cursor", lambda _: cursor)
    with pytest.raises(TimeIsUpError, match=r"cancelled after 0\.050 s"):
        TrinoEngine(stack).query("SELECT 1", timeout_seconds=0.05)
    assert cursor.cancelled


def test_all_tries_together_have_the_time_that_is_given(
    engine: TrinoEngine, cursor: FakeCursor, answers: deque[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    @contextmanager
    def watched(_: FakeCursor, seconds: float) -> Iterator[Event]:
        given.append(seconds)
        yield Event()

    monkeypatch.setattr(trino_engine, "ended_in_time", watched)
    lost = exceptions.TrinoConnectionError("lost")
    answers.extend([lost, lost, (BARS, [])])
    engine.query("SELECT 1", timeout_seconds=20)
    assert 20 > given[0] > given[1] > given[2] > 0


def test_a_query_within_its_time_is_left_alone(
    engine: TrinoEngine, cursor: FakeCursor, answers: deque[Any]
) -> None:
    answers.append((BARS, [["BTCUSDT", None]]))
    assert engine.query("SELECT 1", timeout_seconds=20).num_rows == 1
    assert not cursor.cancelled


def test_what_batch_has_published_is_read_without_the_speed_layer(
    engine: TrinoEngine, cursor: FakeCursor, answers: deque[Any]
) -> None:
    answers.append((BARS, []))
    engine.query("SELECT symbol, vwap FROM serving.bars_1m", batch_only=True)
    [sql] = cursor.statements
    assert "(SELECT * FROM lake.gold.bars_1m_rt WHERE FALSE)" in sql
    assert "VERSION" not in sql
