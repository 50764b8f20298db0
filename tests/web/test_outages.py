"""What the page says when something is away, and that it goes on by itself."""

import pytest
from playwright.sync_api import expect
from served_market import BATCH_MINUTES, MINUTES, ServedMarket
from web.pages import OpenPage

pytestmark = pytest.mark.web

BTC = "?venue=binance_spot&symbol=BTCUSDT"


def test_an_api_that_is_away_is_told_of_and_asked_again(
    open_page: OpenPage, market: ServedMarket
) -> None:
    page = open_page(BTC)
    expect(page.locator("#layers")).to_have_text(f"{BATCH_MINUTES} of {MINUTES}")
    expect(page.locator("#stream")).to_contain_text("open")
    market.stop()
    try:
        expect(page.locator("#notices")).to_contain_text("The API was asked in vain (no answer)")
        expect(page.locator("#notices")).to_contain_text("The live stream is lost")
        expect(page.locator("#layers")).to_have_text(f"{BATCH_MINUTES} of {MINUTES}")  # still there
    finally:
        market.start()
    expect(page.locator("#notices")).to_be_empty()
    expect(page.locator("#stream")).to_contain_text("open")


def test_a_degraded_answer_is_told_of_and_takes_no_bar_away(
    open_page: OpenPage, market: ServedMarket
) -> None:
    page = open_page(BTC)
    expect(page.locator("#layers")).to_have_text(f"{BATCH_MINUTES} of {MINUTES}")
    warehouse = market.settings.home / "warehouse"
    warehouse.rename(warehouse.with_name("away"))
    try:
        # What it has kept it forgets, and the live tier knows no bar of this instrument.
        market.stop()
        market.start()
        expect(page.locator("#notices")).to_contain_text("may be older than it should be")
        expect(page.locator("#layers")).to_have_text(f"{BATCH_MINUTES} of {MINUTES}")
    finally:
        warehouse.with_name("away").rename(warehouse)
    expect(page.locator("#notices")).to_be_empty()
    expect(page.locator("#layers")).to_have_text(f"{BATCH_MINUTES} of {MINUTES}")
