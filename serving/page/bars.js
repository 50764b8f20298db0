// The bars of one instrument, merged by the platform's own rule: of two rows for a key, that which
// has seen more of the log wins; of equals, the one that batch may have confirmed.

import { seconds } from "./format.js";

export const PROVISIONAL = "PROVISIONAL";

const LOOKED_AT_FOR_PLACES = 200;

/** Return with how many decimal places the prices of bars are written. */
export function placesOf(bars) {
  const places = (price) => price.split(".")[1]?.replace(/0+$/, "").length ?? 0;
  return Math.max(0, ...bars.slice(-LOOKED_AT_FOR_PLACES).map((bar) => places(bar.close)));
}

export class Bars {
  #rows = new Map();
  #sorted = null;

  /** Take rows of the merged view from a time on; return how many batch has confirmed since. */
  takeMerged(rows, { from }) {
    let confirmed = 0;
    const present = new Set();
    for (const row of rows) {
      const known = this.#rows.get(row.window_start);
      present.add(row.window_start);
      if (known && known.last_offset > row.last_offset) continue;
      const wasOpen = known?.status === PROVISIONAL && !known.isUnmerged;
      if (wasOpen && row.status !== PROVISIONAL) confirmed += 1;
      this.#put(row);
    }
    this.#forgetVanished(present, from);
    return confirmed;
  }

  /** Take a row that is not the merged view's: of the live tier, or of a degraded answer. */
  takeUnmerged(row) {
    const known = this.#rows.get(row.window_start);
    if (known && known.last_offset >= row.last_offset) return;
    this.#put({ ...row, isUnmerged: true });
  }

  /** Bars that have trades, the oldest first. */
  get all() {
    this.#sorted ??= [...this.#rows.values()]
      .filter((row) => row.trade_count > 0)
      .sort((one, other) => (one.window_start < other.window_start ? -1 : 1));
    return this.#sorted;
  }

  get newest() {
    return this.all.at(-1) ?? null;
  }

  get provisional() {
    return this.all.filter((row) => row.status === PROVISIONAL);
  }

  #put(row) {
    this.#rows.set(row.window_start, row);
    this.#sorted = null;
  }

  // A bar whose trades were all cancelled is in the view no more. One that is unmerged may be too new
  // for it.
  #forgetVanished(present, from) {
    for (const [start, row] of this.#rows) {
      if (seconds(start) >= seconds(from) && !present.has(start) && !row.isUnmerged) {
        this.#rows.delete(start);
        this.#sorted = null;
      }
    }
  }
}
