// Bars as a table and as a measure of how much batch has confirmed; price and spread.

import { PROVISIONAL, placesOf } from "./bars.js";
import { count, decimal, minute, percent, second } from "./format.js";
import { showRows } from "./rows.js";

const TABLE_ROWS = 120;

const byId = (id) => document.getElementById(id);

/** Show bars, the oldest first, as text: the newest on top. */
export function showTable(bars) {
  const places = placesOf(bars);
  const rows = bars.slice(-TABLE_ROWS).reverse().map((bar) => ({
    key: bar.window_start,
    cells: [
      minute(bar.window_start),
      {
        text: bar.status.toLowerCase(),
        kind: bar.status === PROVISIONAL ? "tag hollow" : "tag confirmed",
      },
      ...[bar.open, bar.high, bar.low, bar.close].map((price) => decimal(price, { places })),
      decimal(bar.volume),
      count(bar.trade_count),
    ],
  }));
  showRows(byId("bars"), rows);
}

/** Show how many of the bars batch has confirmed. */
export function showLayers(bars) {
  const confirmed = bars.filter((bar) => bar.status !== PROVISIONAL).length;
  byId("layers").textContent = `${count(confirmed)} of ${count(bars.length)}`;
  byId("confirmed").max = Math.max(1, bars.length);
  byId("confirmed").value = confirmed;
}

/** Show the newest bar's price, and the newest spread; either may be null. */
export function showQuote({ bar, spread, places }) {
  byId("price").textContent = decimal(bar?.close, { places });
  byId("traded").textContent = second(bar?.last_trade_at);
  byId("spread").textContent = spread ? decimal(spread.spread) : "no quotes";
  byId("middle").textContent = decimal(spread?.close_mid, { places });
  const change = byId("change");
  const falls = bar && Number(bar.close) < Number(bar.open);
  change.className = falls ? "change falling" : "change rising";
  change.textContent = bar ? `${percent(bar.open, bar.close)} in this bar` : "";
}
