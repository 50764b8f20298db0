"""Who can use the page: by keyboard, by ear, on a telephone, in the dark, and with which key."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from served_market import BATCH_MINUTES, MINUTES, ServedMarket
from web.pages import OpenPage

from serving.api.keys import ApiKeys

pytestmark = pytest.mark.web

BTC = "?venue=binance_spot&symbol=BTCUSDT"
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 800}
# Where the focus shows: on the element, or on the label that stands for it.
OUTLINE = """() => {
    const at = document.activeElement;
    const seen = at.matches("input[type=radio]") ? at.nextElementSibling : at;
    return getComputedStyle(seen).outlineStyle;
}"""


def shown(page: Page) -> None:
    expect(page.locator("#layers")).to_have_text(f"{BATCH_MINUTES} of {MINUTES}")
    expect(page.locator("#dead-letters tbody tr")).to_have_count(2)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(open_page: OpenPage, theme: str) -> None:
    page = open_page(BTC, color_scheme=theme, viewport=DESK)
    shown(page)
    for view in ("Chart", "Table"):
        page.get_by_label(view).check()
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    page.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_label("API key")).to_be_focused()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_it_fits_a_telephone(open_page: OpenPage) -> None:
    page = open_page(BTC, viewport=PHONE)
    shown(page)
    # Names of instruments may be as long as a line.
    page.evaluate("document.querySelector('#instrument').append(new Option('LONG_'.repeat(12)))")
    for view in ("Chart", "Table"):
        page.get_by_label(view).check()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert page.locator("#candles").bounding_box() is None  # the table has taken its place


def test_the_keyboard_reaches_everything_and_shows_where_it_is(open_page: OpenPage) -> None:
    page = open_page(BTC)
    shown(page)
    page.locator("body").press("Tab")
    expect(page.get_by_role("link", name="Skip to the market")).to_be_focused()
    reached = []
    for _ in range(10):
        assert page.evaluate(OUTLINE) == "solid"
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
    assert reached[:5] == ["instrument", "interval", "dark", "view", "chart"]


def test_the_keyboard_goes_from_bar_to_bar(open_page: OpenPage) -> None:
    page = open_page(BTC)
    shown(page)
    chart = page.get_by_role("slider", name="Bar")
    chart.focus()
    for key, told in (
        ("ArrowLeft", "2024-08-09 00:14 · provisional · open "),
        ("ArrowLeft", "2024-08-09 00:13 · provisional · open "),
        ("PageDown", "2024-08-09 00:03 · reconciled · open "),
        ("Home", "2024-08-08 23:30 · reconciled · open "),
        ("End", "2024-08-09 00:14 · provisional · open "),
    ):
        chart.press(key)
        value = chart.get_attribute("aria-valuetext") or ""
        assert value.startswith(told), key
        assert page.locator("#readout").inner_text() == value


def test_the_theme_is_the_systems_until_one_is_chosen(open_page: OpenPage) -> None:
    page = open_page(BTC, color_scheme="dark")
    button, root = page.get_by_role("button", name="Dark"), page.locator("html")
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(root).to_have_css("color-scheme", "dark")
    button.click()
    expect(root).to_have_css("color-scheme", "light")
    page.reload()
    expect(root).to_have_css("color-scheme", "light")
    expect(button).to_have_attribute("aria-pressed", "false")


def test_the_key_of_the_address_is_kept_in_the_tab_alone(
    open_page: OpenPage, market: ServedMarket
) -> None:
    page = open_page(BTC)
    shown(page)
    assert market.key not in page.url
    assert page.evaluate("sessionStorage.getItem('lakehouse-key')") == market.key
    assert page.evaluate("localStorage.length") == 0
    assert page.context.cookies() == []
    page.reload()
    shown(page)
    page.context.new_page().goto(market.url)
    expect(page.context.pages[-1].get_by_label("API key")).to_be_visible()


def test_a_key_is_asked_for_and_refused_if_wrong(open_page: OpenPage, market: ServedMarket) -> None:
    page = open_page(BTC, key=None)
    field, use = page.get_by_label("API key"), page.get_by_role("button", name="Use this key")
    expect(field).to_be_focused()
    field.fill("lh_0123456789ab_none")
    use.click()
    expect(page.get_by_role("alert")).to_have_text("The API does not know this key, or no longer.")
    field.fill(market.key)
    use.click()
    shown(page)
    expect(field).to_be_hidden()
    expect(page.get_by_role("button", name="Forget the key")).to_be_visible()


def test_a_key_for_the_market_alone_shows_the_market_alone(
    open_page: OpenPage, market: ServedMarket
) -> None:
    keys = ApiKeys.of(market.settings)
    page = open_page(BTC, key=keys.create("reader", datasets=["market"]))
    keys.close()
    expect(page.locator("#layers")).to_have_text(f"{BATCH_MINUTES} of {MINUTES}")
    expect(page.locator("#reconciliations-told")).to_have_text("not for this key")
    expect(page.locator("#dead-letters-told")).to_have_text("not for this key")
    expect(page.locator("#notices")).to_be_empty()
