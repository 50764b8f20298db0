"""What the page shows of a market, and how it follows what becomes of it."""

import re

import pytest
from drawing import inked_pixels
from market_rows import bar, price
from playwright.sync_api import Page, expect
from served_market import BATCH_MINUTES, MINUTES, ServedMarket, wait_until
from web.pages import OpenPage

pytestmark = pytest.mark.web

BTC = "?venue=binance_spot&symbol=BTCUSDT"
PERPETUAL = "?venue=binance_coinm&symbol=BTCUSD_PERP"
ANNOUNCED = """
    window.announced = [];
    new MutationObserver((changes) => {
        for (const change of changes)
            for (const node of change.addedNodes) announced.push(node.textContent);
    }).observe(document.getElementById("notices"), {childList: true, subtree: true});
"""


def rows(page: Page, table: str) -> list[list[str]]:
    """Return the text of a table's rows, once there are some."""
    body = page.locator(f"#{table} tbody tr")
    expect(body).not_to_have_count(0)
    return [row.split("\t") for row in body.all_inner_texts()]


def poll(page: Page) -> None:
    """Wait until the page has asked for bars once more."""
    with page.expect_response(lambda answer: "/v1/bars?" in answer.url):
        pass


def test_bars_of_both_layers_are_told_apart(open_page: OpenPage) -> None:
    page = open_page(BTC)
    expect(page.locator("#market-title")).to_have_text("BTCUSDT · binance_spot")
    expect(page.locator("#layers")).to_have_text(f"{BATCH_MINUTES} of {MINUTES}")
    newest = bar(MINUTES - 1)
    expect(page.locator("#price")).to_have_text(f"{newest['close']:,.2f}")
    expect(page.locator("#traded")).to_have_text("2024-08-09 00:14:58")
    expect(page.locator("#spread")).to_have_text("0.0125")
    expect(page.locator("#middle")).to_have_text(f"{price(MINUTES):,.2f}")
    page.get_by_label("Table").check()
    shown = rows(page, "bars")
    assert [row[1] for row in shown[:6]] == ["provisional"] * 5 + ["reconciled"]
    assert shown[0][0] == "2024-08-09 00:14"
    assert shown[0][2] == f"{newest['open']:,.2f}"
    assert shown[0][7] == str(newest["trade_count"])


def test_a_bar_turns_when_batch_has_confirmed_it(open_page: OpenPage, market: ServedMarket) -> None:
    page = open_page(PERPETUAL)
    expect(page.locator("#layers")).to_have_text(f"{BATCH_MINUTES} of {MINUTES}")
    page.evaluate(ANNOUNCED)
    poll(page)
    hollow = inked_pixels(page)
    assert hollow > 0
    confirmed = [bar(n, "binance_coinm", "BTCUSD_PERP") for n in range(BATCH_MINUTES, MINUTES)]
    market.append("gold.bars_1m", confirmed)
    expect(page.locator("#layers")).to_have_text(f"{MINUTES} of {MINUTES}")
    wait_until(lambda: inked_pixels(page) > hollow * 1.05, "the bars are filled")
    poll(page)
    # Told once, and nothing else: what a screen reader says must be worth hearing.
    assert page.evaluate("announced") == ["Batch has confirmed 5 bars."]


def test_the_choice_is_kept_in_the_address(open_page: OpenPage) -> None:
    page = open_page()
    expect(page.locator("#market-title")).to_have_text("BTCUSD_PERP · binance_coinm")
    page.get_by_label("Instrument").select_option("BTCUSDT · binance_spot")
    page.get_by_label("1 hour").check()
    page.get_by_label("Table").check()
    expect(page.locator("#bars tbody tr")).to_have_count(2)
    assert page.url.endswith(f"{BTC}&interval=1h")
    page.reload()
    expect(page.locator("#market-title")).to_have_text("BTCUSDT · binance_spot")
    expect(page.get_by_label("1 hour")).to_be_checked()


def test_no_digit_is_lost(open_page: OpenPage) -> None:
    page = open_page("?venue=binance_spot&symbol=DIGITS")
    expect(page.locator("#price")).to_have_text("8,999,999,999.99999999")
    page.get_by_label("Table").check()
    (row,) = rows(page, "bars")
    assert row[3] == "9,000,000,000.00000001"
    assert row[6] == "123,456,789,012,345,678,901,234,567.12345678"


def test_verdicts_and_dead_letters(open_page: OpenPage) -> None:
    page = open_page()
    found = {row[0]: row[1:4] for row in rows(page, "reconciliations")}
    assert found == {"bars_1m": ["AGREE", "1,240", "0"], "spreads_1m": ["DRIFT", "1,240", "2"]}
    assert rows(page, "dead-letters") == [
        ["bad magic byte", "3", "market.trades", "lander"],
        ["non positive price", "1", "market.trades", "lander"],
    ]


def test_freshness_and_lag(open_page: OpenPage, market: ServedMarket) -> None:
    page = open_page(BTC)
    # Fresh as the live tier says; seconds on a machine with other work.
    expect(page.locator("#shown")).to_have_text(re.compile(r"^\d+(\.\d)? s ago$"))
    expect(page.locator("#written")).to_contain_text("ago")
    market.trade(symbol="LAGUSDT")  # nothing lands here
    told = re.compile(r"^[1-9]\d* trades, the oldest \d+(\.\d)? (s|min) old$")
    expect(page.locator("#lag")).to_have_text(told)
