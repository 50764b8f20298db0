"""The formats say the same, and are chosen as RFC 9110 has it."""

import csv
import io
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from serving.api.formats import Format, accepted
from serving.api.problems import ProblemError

pytestmark = pytest.mark.serving

PATHS = ("/v1/bars", "/v1/trades", "/v1/positions/C-1", "/v1/reconciliations", "/v1/dead-letters")


@pytest.mark.parametrize("path", PATHS)
def test_formats_are_equal_in_content(client: TestClient, path: str) -> None:
    said = client.get(path)
    assert said.headers["content-type"] == "application/json"
    rows = said.json()["data"]
    assert rows
    lines = client.get(path, headers={"Accept": "text/csv"})
    assert lines.headers["content-type"].startswith("text/csv")
    told = {None: "", True: "true", False: "false"}
    assert list(csv.DictReader(io.StringIO(lines.text))) == [
        {
            name: told.get(v, str(v)) if not isinstance(v, int) or isinstance(v, bool) else str(v)
            for name, v in row.items()
        }
        for row in rows
    ]
    stream = client.get(path, headers={"Accept": "application/vnd.apache.arrow.stream"})
    table = pa.ipc.open_stream(stream.content).read_all()
    assert table.column_names == list(rows[0])
    for row, told_row in zip(rows, table.to_pylist(), strict=True):
        for name, value in told_row.items():
            if isinstance(value, Decimal):
                assert format(value, "f") == row[name]
            elif not isinstance(value, int | str | float | None):
                assert str(value).replace(" ", "T")[:19] == row[name][:19]
            else:
                assert value == row[name]


def test_what_json_says_of_itself_is_in_the_headers_of_all(client: TestClient) -> None:
    meta = client.get("/v1/bars", params={"limit": 3}).json()
    for format_ in Format:
        headers = client.get("/v1/bars", params={"limit": 3}, headers={"Accept": format_}).headers
        assert headers["x-tier"] == "merged"
        assert float(headers["x-seconds-since-commit"]) >= 0
        assert json.loads(headers["x-offsets"]) == meta["meta"]["offsets"]
        assert json.loads(headers["x-status"]) == meta["meta"]["status"]
        assert headers["x-next"] == meta["next"]
        assert "x-degraded" not in headers


@pytest.mark.parametrize(
    ("accept", "format_"),
    [
        (None, Format.JSON),
        ("", Format.JSON),
        ("*/*", Format.JSON),
        ("text/*", Format.CSV),
        ("text/html, application/xml;q=0.9, */*;q=0.8", Format.JSON),
        ("application/json;q=0.5, text/csv", Format.CSV),
        ("APPLICATION/vnd.apache.arrow.stream", Format.ARROW),
        ("*/*, application/json;q=0", Format.CSV),
        ("application/json;q=x, text/csv;q=0.1", Format.CSV),
    ],
)
def test_the_format_is_the_one_liked_best(accept: str | None, format_: Format) -> None:
    assert accepted(accept) is format_


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "nothing"])
def test_who_takes_none_is_told_what_there_is(client: TestClient, accept: str) -> None:
    with pytest.raises(ProblemError):
        accepted(accept)
    problem = client.get("/v1/bars", headers={"Accept": accept})
    assert problem.status_code == 406
    assert "text/csv" in problem.json()["detail"]
