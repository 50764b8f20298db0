"""What a chart shows, told by its pixels."""

import io

from PIL import Image
from playwright.sync_api import Page

# The page's colours of rising and falling, in its light theme.
INKS = {(0x00, 0x79, 0x6B), (0xC2, 0x41, 0x0C)}


def inked_pixels(page: Page) -> int:
    """Count the pixels of the chart that are of a candle: those within hollow ones are not."""
    picture = Image.open(io.BytesIO(page.locator("#candles").screenshot())).convert("RGB")
    counted = picture.getcolors(maxcolors=picture.width * picture.height)
    assert counted is not None
    return sum(count for count, colour in counted if colour in INKS)
