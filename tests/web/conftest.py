"""A browser, and the page over a lake with data; nothing is played."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from web.pages import OpenPage

from lakehouse.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from served_market import ServedMarket

# The tests of this folder import what lies beside them.
sys.path.insert(0, str(Path(__file__).parent))

NO_BROWSER = "the page is tested in Chromium, which is not here: apt-get install chromium"
# Longer than a poll of the page, on a machine with other work.
PATIENCE_MS = 20_000
# What a browser says of an answer that is none; the page tells the reader in its own words.
EXPECTED = ("Failed to load resource",)


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """The machine's own Chromium, without a window."""
    from playwright.sync_api import expect, sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        # Where nobody reads what was skipped, that would be a page that is never tested.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(NO_BROWSER)
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def market(
    browser: "Browser", tmp_path_factory: pytest.TempPathFactory
) -> Iterator["ServedMarket"]:
    """A lake with bars of both layers, and its API; not made where there is no browser."""
    from served_market import served_market

    with served_market(Settings(home=tmp_path_factory.mktemp("market") / "home")) as market:
        yield market


@pytest.fixture
def open_page(browser: "Browser", market: "ServedMarket") -> Iterator[OpenPage]:
    """Open the page in a browser that knows nothing yet, with the home's key unless told otherwise.

    In the end no script may have failed, no policy have been broken, and nobody else been asked.
    """
    troubles: list[str] = []
    contexts = []

    def open_page(path: str = "", *, key: str | None = market.key, **options: object) -> "Page":
        context = browser.new_context(**options)  # type: ignore[arg-type]
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "console", lambda said: troubles.append(said.text) if said.type == "error" else None
        )
        page.on("request", lambda asked: troubles.extend(_foreign(asked.url, market.url)))
        page.goto(market.url + path + (f"#key={key}" if key else ""))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [said for said in troubles if not said.startswith(EXPECTED)] == []


def _foreign(asked: str, own: str) -> list[str]:
    here = urlsplit(asked).netloc == urlsplit(own).netloc
    return [] if here or asked.startswith("data:") else [f"asked {asked}"]
