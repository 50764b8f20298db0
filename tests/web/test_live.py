"""What comes live: in the page before any layer of the lake knows it."""

from datetime import timedelta
from decimal import Decimal

import pytest
from market_rows import NEW
from playwright.sync_api import expect
from served_market import ServedMarket
from web.pages import OpenPage

pytestmark = pytest.mark.web

NEW_COIN = f"?venue={NEW['venue']}&symbol={NEW['symbol']}"


def test_a_trade_is_seen_within_a_moment(open_page: OpenPage, market: ServedMarket) -> None:
    page = open_page(NEW_COIN)
    page.get_by_label("Table").check()
    expect(page.locator("#stream")).to_contain_text("open")
    expect(page.locator("#bars tbody tr")).to_have_count(1)
    market.trade()
    expect(page.locator("#price")).to_have_text("2,683.50")
    rows = page.locator("#bars tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("2024-08-08 23:31\tprovisional", use_inner_text=True)
    later = NEW["event_time"] + timedelta(seconds=1)
    market.trade(trade_id=2, event_time=later, price=Decimal("2684.25"))
    expect(page.locator("#price")).to_have_text("2,684.25")
    expect(rows.first).to_contain_text("2,684.25\t4\t2", use_inner_text=True)
    market.trade(trade_id=1, event_type="CANCEL", price=None, quantity=None)
    market.trade(trade_id=2, event_type="CANCEL", price=None, quantity=None)
    expect(rows).to_have_count(1)
