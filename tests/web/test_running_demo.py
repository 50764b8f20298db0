"""The page while the demo runs: the market of the recording, as it comes."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from running_demo import STOP_SECONDS, running_demo
from served_market import wait_until

from lakehouse.settings import Settings

START_DEADLINE_SECONDS = 240.0
# On a machine with much other work, the speed layer takes minutes to its first rows.
BARS_DEADLINE_SECONDS = 240.0
NEXT_PRICE_SECONDS = 60.0
# The replay goes on to the hour's end; batch and reconciliation start a Spark each.
CONFIRMED_DEADLINE_SECONDS = 300.0

# A deadline that is missed is to be told by name, and the demo stopped then.
pytestmark = [
    pytest.mark.web,
    pytest.mark.timeout(
        START_DEADLINE_SECONDS
        + BARS_DEADLINE_SECONDS
        + NEXT_PRICE_SECONDS
        + 2 * CONFIRMED_DEADLINE_SECONDS
        + 2 * STOP_SECONDS
    ),
]


def test_bars_come_and_turn_while_the_demo_runs(
    settings: Settings, tmp_path: Path, browser: Browser
) -> None:
    out = tmp_path / "out"
    with running_demo(settings, out):
        wait_until(lambda: address_in(out) != "", "an address", seconds=START_DEADLINE_SECONDS)
        page = browser.new_page()
        page.goto(address_in(out))
        expect(page.locator("#layers")).to_have_text(
            re.compile(" of [1-9]"), timeout=BARS_DEADLINE_SECONDS * 1000
        )
        before = page.locator("#price").inner_text()
        expect(page.locator("#price")).not_to_have_text(before, timeout=NEXT_PRICE_SECONDS * 1000)
        expect(page.locator("#layers")).to_have_text(
            re.compile("^[1-9].* of "), timeout=CONFIRMED_DEADLINE_SECONDS * 1000
        )
        expect(page.locator("#reconciliations .tag").first).to_have_text(
            "AGREE", timeout=CONFIRMED_DEADLINE_SECONDS * 1000
        )
        page.close()


def address_in(out: Path) -> str:
    """Return the address that the demo has printed; nothing while it has not."""
    found = re.search(r"http://127\.0\.0\.1:\d+/#key=lh_\w+_[\w-]{43}", out.read_text())
    return found.group() if found else ""
