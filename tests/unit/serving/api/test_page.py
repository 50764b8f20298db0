"""The page as files: what it is served with, and what it is made of."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from serving.api.page import FOLDER

pytestmark = pytest.mark.web

ROOT = Path(__file__).parents[4]
LOCK = ROOT / "requirements/page/package-lock.json"
SUMS = ROOT / "requirements/page/made.sha256"
LIBRARY = Path(str(FOLDER)) / "vendor/lightweight-charts/lightweight-charts.js"
OWN = [path for path in Path(str(FOLDER)).iterdir() if path.suffix in {".html", ".css", ".js"}]


def test_files_are_for_anybody_and_let_nothing_foreign_in(api: FastAPI) -> None:
    client = TestClient(api)
    library = "/page/vendor/lightweight-charts/lightweight-charts.js"
    for path, kind in {
        "/": "text/html",
        "/page/style.css": "text/css",
        "/page/main.js": "text/javascript",
        library: "text/javascript",
    }.items():
        answer = client.get(path)
        assert answer.headers["Content-Type"].startswith(kind)
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'"} <= set(policy)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get("/page/none.js").headers["Content-Type"] == "application/problem+json"


def test_the_library_is_the_one_that_the_lock_names() -> None:
    for line in SUMS.read_text().splitlines():
        stated, name = line.split()
        assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == stated, (
            f"{name} has changed: make page-library"
        )
    assert {LOCK, LIBRARY} <= {ROOT / line.split()[1] for line in SUMS.read_text().splitlines()}
    locked = json.loads(LOCK.read_text())["packages"]["node_modules/lightweight-charts"]
    assert f"v{locked['version']}\n" in LIBRARY.read_text()[:200]
    assert locked["integrity"].startswith("sha512-")
    assert "resolved" not in locked  # the host is the machine's own choice


@pytest.mark.parametrize("file", OWN, ids=lambda file: file.name)
def test_own_files_name_no_foreign_host_to_ask(file: Path) -> None:
    asked = re.findall(
        r"""(?:src|from|url\(|fetch\()\s*=?\s*["'`]?(https?:)?//""", file.read_text()
    )
    assert asked == []
    links = re.findall(r'href="(https?://[^"]*)"', file.read_text())
    assert links in ([], ["https://www.tradingview.com/"])  # what the library's licence asks for
