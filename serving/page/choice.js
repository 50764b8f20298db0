// What the reader looks at: instrument and interval, kept in the address to be passed on.

import { getAll } from "./api.js";

export class Choice {
  #form;
  #select;
  #changed;
  // By key: venue, symbol and the newest day that has bars.
  #instruments = new Map();
  #listed = "";

  constructor(form, select, changed) {
    this.#form = form;
    this.#select = select;
    this.#changed = changed;
    const { interval } = this.#wanted();
    if (interval === "1h") form.elements.interval.value = interval;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => {
      this.#remember();
      this.#changed(this.current);
    });
  }

  /** {venue, symbol, lastDay, interval}, or null while there is no instrument. */
  get current() {
    const option = this.#select.selectedOptions[0];
    if (!option) return null;
    return { ...option.dataset, interval: this.#form.elements.interval.value };
  }

  /**
   * Ask which instruments have bars: of all days once, then of the newest on. An instrument whose
   * days are all older than that shows when the page is opened again.
   */
  async list() {
    const days = [...this.#instruments.values()].map(({ lastDay }) => lastDay).sort();
    const { data } = await getAll("market/daily", { start: days.at(-1), limit: 5000 });
    for (const { venue, symbol, business_date: lastDay } of data) {
      this.#instruments.set(`${venue}:${symbol}`, { venue, symbol, lastDay });
    }
    const keys = [...this.#instruments.keys()].sort();
    const instruments = keys.map((key) => this.#instruments.get(key));
    const listed = JSON.stringify(instruments);
    if (listed === this.#listed) return;
    this.#listed = listed;
    const before = this.current;
    this.#fill(instruments, before ?? this.#wanted());
    const now = this.current;
    if (before?.venue !== now?.venue || before?.symbol !== now?.symbol) this.#changed(now);
  }

  #fill(instruments, wanted) {
    const groups = Map.groupBy(instruments, (instrument) => instrument.venue);
    const filled = [...groups].map(([venue, ofVenue]) => {
      const group = document.createElement("optgroup");
      group.label = venue;
      for (const instrument of ofVenue) {
        const option = new Option(`${instrument.symbol} · ${venue}`);
        Object.assign(option.dataset, instrument);
        option.selected = venue === wanted.venue && instrument.symbol === wanted.symbol;
        group.append(option);
      }
      return group;
    });
    this.#select.replaceChildren(...filled);
    this.#select.disabled = filled.length === 0;
  }

  #wanted() {
    return Object.fromEntries(new URLSearchParams(location.search));
  }

  #remember() {
    const { venue, symbol, interval } = this.current ?? {};
    if (!venue) return;
    history.replaceState(null, "", `?${new URLSearchParams({ venue, symbol, interval })}`);
  }
}
