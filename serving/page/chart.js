// The candles. What batch has not confirmed yet is hollow.

import {
  CandlestickSeries,
  createChart,
  HistogramSeries,
} from "./vendor/lightweight-charts/lightweight-charts.js";
import { PROVISIONAL, placesOf } from "./bars.js";
import { count, decimal, minute, seconds } from "./format.js";

const PAGE_OF_BARS = 10;
// Parts of the height: the volume is at the bottom, where the candles leave it room.
const VOLUME_TOP = 0.82;
const CANDLES_BOTTOM = 0.22;
// At first so many bars are shown as are candles still, and no fewer than look like some.
const NARROWEST_BAR_PIXELS = 7;
const WIDEST_BAR_PIXELS = 44;
const ROOM_AT_THE_RIGHT = 2;
const HALF_A_BAR = 0.6;
const TRANSPARENT = "00";
const COLOURS = ["card", "ink", "muted", "line", "faint", "volume", "rising", "falling"];

export class Chart {
  #element;
  #readout;
  #chart;
  #candles;
  #volume;
  #colours = {};
  #bars = [];
  #chosen = null;

  /**
   * Draw into `candles`, which is within `element`.
   *
   * The keyboard reaches `element`, a slider whose value is a bar; `readout` is that bar as text.
   */
  constructor(element, candles, readout) {
    this.#element = element;
    this.#readout = readout;
    this.#chart = createChart(candles, {
      autoSize: true,
      // The logo brings a style of its own, which the page's policy refuses; the link is below.
      layout: { attributionLogo: false, fontFamily: "system-ui, sans-serif" },
      timeScale: { timeVisible: true, secondsVisible: false },
      rightPriceScale: { scaleMargins: { top: 0.08, bottom: CANDLES_BOTTOM } },
      handleScroll: { vertTouchDrag: false },
    });
    this.#candles = this.#chart.addSeries(CandlestickSeries, { priceLineVisible: false });
    this.#volume = this.#chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      lastValueVisible: false,
      priceLineVisible: false,
    });
    this.#chart.priceScale("volume").applyOptions({ scaleMargins: { top: VOLUME_TOP, bottom: 0 } });
    this.#chart.subscribeCrosshairMove((move) => this.#pointed(move));
    element.addEventListener("keydown", (event) => this.#keyed(event));
    element.addEventListener("blur", () => this.#choose(null));
    document.addEventListener("themechange", () => this.#paint());
    this.#paint();
  }

  /** Show bars, the oldest first. */
  show(bars) {
    this.#bars = bars;
    this.#draw();
    // Who is on the chart hears of a bar when it is chosen, not whenever it changes.
    if (document.activeElement !== this.#element) this.#describe();
  }

  /** Show other bars than before, with the newest of them in view. */
  reset(bars) {
    this.#chosen = null;
    this.show(bars);
    const scale = this.#chart.timeScale();
    const least = Math.ceil(scale.width() / WIDEST_BAR_PIXELS);
    const most = Math.floor(scale.width() / NARROWEST_BAR_PIXELS);
    const shown = Math.min(most, Math.max(least, bars.length + ROOM_AT_THE_RIGHT));
    const to = bars.length + ROOM_AT_THE_RIGHT;
    scale.setVisibleLogicalRange({ from: to - shown - HALF_A_BAR, to });
    this.#chart.priceScale("right").applyOptions({ autoScale: true });
  }

  #paint() {
    const style = getComputedStyle(this.#element);
    this.#colours = Object.fromEntries(
      COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
    );
    const { card, muted, line, ink } = this.#colours;
    const cross = { color: muted, labelBackgroundColor: ink };
    this.#chart.applyOptions({
      layout: { background: { color: card }, textColor: muted },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      rightPriceScale: { borderColor: line },
      timeScale: { borderColor: line },
      crosshair: { vertLine: cross, horzLine: cross },
    });
    this.#draw();
  }

  #draw() {
    const precision = placesOf(this.#bars);
    const priceFormat = { type: "price", precision, minMove: 10 ** -precision };
    this.#candles.applyOptions({ priceFormat });
    this.#candles.setData(this.#bars.map((bar) => this.#candle(bar)));
    this.#volume.setData(this.#bars.map((bar) => this.#column(bar)));
  }

  #candle(bar) {
    const { rising, falling } = this.#colours;
    const [open, high, low, close] = [bar.open, bar.high, bar.low, bar.close].map(Number);
    const colour = close >= open ? rising : falling;
    return {
      time: seconds(bar.window_start),
      open,
      high,
      low,
      close,
      color: bar.status === PROVISIONAL ? colour + TRANSPARENT : colour,
      borderColor: colour,
      wickColor: colour,
    };
  }

  #column(bar) {
    return {
      time: seconds(bar.window_start),
      value: Number(bar.volume),
      color: bar.status === PROVISIONAL ? this.#colours.faint : this.#colours.volume,
    };
  }

  #keyed(event) {
    const last = this.#bars.length - 1;
    // The first key that is pressed shows where one is: at the newest bar.
    const at = this.#chosen ?? (event.key.startsWith("Arrow") ? null : last);
    const step = (bars) => (at == null ? last : at + bars);
    const to = {
      ArrowLeft: step(-1),
      ArrowDown: step(-1),
      ArrowRight: step(1),
      ArrowUp: step(1),
      PageDown: step(-PAGE_OF_BARS),
      PageUp: step(PAGE_OF_BARS),
      Home: 0,
      End: last,
      Escape: null,
    }[event.key];
    if (to === undefined || last < 0 || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.#choose(to == null ? null : Math.max(0, Math.min(last, to)));
  }

  #choose(index) {
    this.#chosen = index;
    if (index == null) {
      this.#chart.clearCrosshairPosition();
    } else {
      const bar = this.#bars[index];
      this.#bringIntoView(index);
      this.#chart.setCrosshairPosition(Number(bar.close), seconds(bar.window_start), this.#candles);
    }
    this.#describe();
  }

  #bringIntoView(index) {
    const scale = this.#chart.timeScale();
    const { from, to } = scale.getVisibleLogicalRange();
    const off = Math.min(0, index - Math.ceil(from)) || Math.max(0, index - Math.floor(to));
    if (off) scale.setVisibleLogicalRange({ from: from + off, to: to + off });
  }

  // A pointer shows a bar to those who see it; who uses the keyboard has chosen another.
  #pointed({ time }) {
    if (this.#chosen != null) return;
    const bar = this.#bars.find((one) => seconds(one.window_start) === time);
    this.#readout.textContent = this.#told(bar ?? this.#bars.at(-1));
  }

  #describe() {
    const last = Math.max(0, this.#bars.length - 1);
    const told = this.#told(this.#bars[this.#chosen ?? last]);
    this.#element.setAttribute("aria-valuemax", last);
    this.#element.setAttribute("aria-valuenow", this.#chosen ?? last);
    this.#element.setAttribute("aria-valuetext", told);
    this.#readout.textContent = told;
  }

  #told(bar) {
    if (!bar) return "No bars yet";
    const places = placesOf(this.#bars);
    const price = (name) => `${name} ${decimal(bar[name], { places })}`;
    return [
      minute(bar.window_start),
      bar.status.toLowerCase(),
      ...["open", "high", "low", "close"].map(price),
      `volume ${decimal(bar.volume)}`,
      `${count(bar.trade_count)} trades`,
    ].join(" · ");
  }
}
