"""``lakehouse sql``, ``views`` and ``chart``."""

import json
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from typer.testing import CliRunner, Result

from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from serving.cli import app
from serving.publication import NoTrinoError
from serving.views import view_names

QUERY = "SELECT notional, window_start FROM serving.bars_1m"


@pytest.fixture
def run(settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("serving.cli.get_settings", lambda role: settings)

    def run(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(app, arguments, input=stdin)

    return run


def test_sql_prints_exact_json(run: Any, append: Any, bar: Any) -> None:
    append("gold.bars_1m", [bar(last_offset=1)])
    result = run("sql", QUERY, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == [
        {"notional": "202.0000000000000000", "window_start": "2024-08-08T12:00:00.000000Z"}
    ]


def test_sql_prints_csv_and_tables(run: Any, append: Any, bar: Any) -> None:
    append("gold.bars_1m", [bar(last_offset=1)])
    assert run("sql", QUERY, "--csv").stdout == (
        "notional,window_start\n202.0000000000000000,2024-08-08T12:00:00.000000Z\n"
    )
    assert "202.0000000000000000" in run("sql", QUERY).stdout


def test_sql_reads_stdin_and_files(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "query.sql"
    file.write_text("SELECT 7 AS seven")
    assert run("sql", "--file", str(file), "--csv").stdout == "seven\n7\n"
    assert run("sql", "-", "--csv", stdin="SELECT 8 AS eight").stdout == "eight\n8\n"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "problem"),
    [
        (["DROP TABLE gold.bars_1m"], 2, "read-only"),
        (["SELECT * FROM gold.nope"], 2, "there is no table gold.nope"),
        (["SELEC"], 2, "SELEC"),
        ([], 2, "give one statement"),
        (["SELECT CAST('x' AS integer)"], 1, "Could not convert"),
    ],
)
def test_errors_have_exit_codes(
    run: Any, arguments: list[str], exit_code: int, problem: str
) -> None:
    error = run("sql", *arguments).exception
    assert isinstance(error, LakehouseError)
    assert error.exit_code == exit_code
    assert problem in str(error)


def test_json_and_csv_exclude_each_other(run: Any) -> None:
    assert run("sql", "SELECT 1", "--json", "--csv").exit_code == 2


def test_views_print_their_sql(run: Any) -> None:
    every = run("views", "show").stdout
    assert every.count("-- serving.") == len(view_names())
    assert "MIN_BY(" in every
    one = run("views", "show", "serving.bars_1h", "--dialect", "duckdb").stdout
    assert one.count("-- serving.") == 1
    assert "ARG_MIN(" in one
    assert "there is no view serving.nope" in str(run("views", "show", "serving.nope").exception)


def test_views_are_listed_with_what_they_read(run: Any) -> None:
    listed = {one["view"]: one for one in json.loads(run("views", "list", "--json").stdout)}
    assert listed["serving.bars_1h"]["reads"] == ["serving.bars_1m"]
    assert listed["serving.bars_1h"]["description"].startswith("One row per venue, symbol and UTC")
    assert "serving.market_daily" in run("views", "list").stdout


def test_an_embedded_home_has_no_views_to_apply(run: Any) -> None:
    error = run("views", "apply").exception
    assert isinstance(error, NoTrinoError)
    assert "nothing to apply" in str(error)


def test_chart_writes_a_picture(run: Any, append: Any, bar: Any, tmp_path: Path) -> None:
    append("gold.bars_1m_rt", [bar(minute, last_offset=minute) for minute in range(3)])
    out = tmp_path / "bars.png"
    result = run(
        "chart", "--out", str(out), "--symbol", "BTCUSDT", "--since", "2024-08-08T12:01:00"
    )
    assert result.exit_code == 0
    assert "2 bars" in result.stdout
    assert out.read_bytes().startswith(b"\x89PNG")
