// One instrument: its bars from the merged view, and what the live tier knows beyond it.

import { get, getAll } from "./api.js";
import { Bars, placesOf } from "./bars.js";
import { later } from "./format.js";
import { repeat } from "./repeat.js";
import { follow } from "./stream.js";

const POLL_SECONDS = 5;
// Every so many polls all is asked for, since a correction may be of any bar; and until an answer is
// whole.
const POLLS_PER_RELOAD = 12;
// What the polls between ask for: bars that may still turn, as far back as batch is late by custom.
const TURNING_MINUTES = 180;
const SPREAD_MINUTES = 60;
const ROWS_PER_PAGE = 5000;
const DAYS = { "1m": 1, "1h": 30 };

export class Market {
  #choice;
  #on;
  #bars = new Bars();
  #start;
  #hasAnswer = false;
  #pollsToReload = 0;
  #spread = null;
  #liveBar = null;
  #isDue = false;
  #signal = null;

  /**
   * on.bars(bars, {first}) is called when bars have changed, on.quote({bar, spread, places}) when
   * price or spread has, on.meta(meta) for each answer, on.confirmed(count) when batch has
   * confirmed bars, on.heard() for each live row, on.stream(state, error) as `follow` has it, and
   * on.failed(error) when the API was asked in vain.
   */
  constructor(choice, on) {
    this.#choice = choice;
    this.#on = on;
    this.#start = later(`${choice.lastDay}T00:00:00Z`, -DAYS[choice.interval] * 24 * 60);
  }

  /** Follow it until the signal is aborted. */
  run(signal) {
    this.#signal = signal;
    const { failed } = this.#on;
    repeat(POLL_SECONDS, () => this.#poll(), { signal, failed });
    const { venue, symbol } = this.#choice;
    follow({ relations: ["bars_1m", "spreads_1m"], venue, symbol }, {
      signal,
      on: { row: (relation, row) => this.#heard(relation, row), state: this.#on.stream },
    });
  }

  async #poll() {
    const { venue, symbol, interval } = this.#choice;
    const isReload = this.#pollsToReload === 0;
    const from = isReload ? this.#start : this.#turningFrom();
    const wanted = { venue, symbol, interval, start: from, limit: ROWS_PER_PAGE };
    const { data, meta } = await getAll("bars", wanted);
    if (this.#signal.aborted) return;
    const first = !this.#hasAnswer;
    this.#hasAnswer = true;
    this.#on.meta(meta);
    if (meta.degraded) {
      // Bars that it lacks may be in the view all the same.
      this.#pollsToReload = 0;
      for (const row of data) this.#bars.takeUnmerged(row);
    } else {
      this.#pollsToReload = (isReload ? POLLS_PER_RELOAD : this.#pollsToReload) - 1;
      const confirmed = this.#bars.takeMerged(data, { from });
      if (!first && confirmed) this.#on.confirmed(confirmed);
    }
    this.#on.bars(this.#bars.all, { first });
    this.#quote();
    await this.#pollSpread();
    this.#quote();
  }

  async #pollSpread() {
    const newest = this.#bars.newest;
    if (!newest) return;
    const { venue, symbol } = this.#choice;
    const start = later(newest.window_start, -SPREAD_MINUTES);
    const page = await get("spreads", { venue, symbol, start, limit: ROWS_PER_PAGE });
    if (!this.#signal.aborted) this.#takeSpread(page.data.at(-1));
  }

  #heard(relation, row) {
    this.#on.heard();
    if (relation === "spreads_1m") this.#takeSpread(row);
    if (relation === "bars_1m") {
      if (row.trade_count > 0 && !hasSeenMore(this.#liveBar, row)) this.#liveBar = row;
      if (this.#choice.interval === "1m") this.#bars.takeUnmerged(row);
    }
    this.#drawSoon();
  }

  // Rows come faster than they can be seen: once for each picture suffices.
  #drawSoon() {
    if (this.#isDue || !this.#hasAnswer) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      if (this.#signal.aborted) return;
      this.#on.bars(this.#bars.all, { first: false });
      this.#quote();
    });
  }

  #takeSpread(row) {
    if (row && !hasSeenMore(this.#spread, row)) this.#spread = row;
  }

  #quote() {
    const merged = this.#bars.newest;
    const isAhead = this.#liveBar && !hasSeenMore(merged, this.#liveBar);
    const places = placesOf(this.#bars.all);
    this.#on.quote({ bar: isAhead ? this.#liveBar : merged, spread: this.#spread, places });
  }

  #turningFrom() {
    const newest = this.#bars.newest?.window_start ?? this.#start;
    const oldest = this.#bars.provisional[0]?.window_start ?? newest;
    const earliest = later(newest, -TURNING_MINUTES);
    return Date.parse(oldest) > Date.parse(earliest) ? oldest : earliest;
  }
}

const hasSeenMore = (row, other) => row != null && row.last_offset > other.last_offset;
