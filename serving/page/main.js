// Brings the parts of the page together.

import { Chart } from "./chart.js";
import { Choice } from "./choice.js";
import { Freshness } from "./freshness.js";
import { forgetKey, heldKey, holdKey, takeKeyFromAddress } from "./key.js";
import { Market } from "./market.js";
import { Notices } from "./notices.js";
import { followOperations } from "./operations.js";
import { showLayers, showQuote, showTable } from "./panels.js";
import { repeat } from "./repeat.js";

const RELIST_SECONDS = 60;
const FIRST_LIST_SECONDS = 3; // of a lake that is empty still
const MENTIONED_SECONDS = 8;

const byId = (id) => document.getElementById(id);
const notices = new Notices(byId("notices"));
const freshness = new Freshness(notices);
const chart = new Chart(byId("chart"), byId("candles"), byId("readout"));
const choice = new Choice(byId("choice"), byId("instrument"), look);

// Whatever runs for somebody who has this key, and for who looks at this instrument.
let session = new AbortController();
let looking = new AbortController();

function begin() {
  end();
  session = new AbortController();
  const { signal } = session;
  showKeyForm(false);
  const relist = () => (choice.current ? RELIST_SECONDS : FIRST_LIST_SECONDS);
  repeat(relist, () => choice.list(), { signal, failed });
  followOperations({ signal, refused: failed });
  if (choice.current) look(choice.current);
}

function end() {
  session.abort();
  looking.abort();
}

function look(chosen) {
  looking.abort();
  looking = new AbortController();
  byId("market-title").textContent = `${chosen.symbol} · ${chosen.venue}`;
  new Market(chosen, {
    bars: showBars,
    quote: showQuote,
    meta: (meta) => freshness.answered(meta),
    confirmed: mentionConfirmed,
    heard: () => freshness.heard(),
    stream: (state, error) => (error?.needsKey ? askForKey() : freshness.streamed(state, error)),
    failed,
  }).run(looking.signal);
}

function showBars(bars, { first }) {
  if (first) chart.reset(bars);
  else chart.show(bars);
  showTable(bars);
  showLayers(bars);
}

function mentionConfirmed(bars) {
  const text = `Batch has confirmed ${bars === 1 ? "a bar" : `${bars} bars`}.`;
  notices.mention("confirmed", text, { seconds: MENTIONED_SECONDS });
}

function failed(error) {
  if (error.needsKey) askForKey();
  else freshness.failed(error);
}

function askForKey() {
  if (!byId("ask-key").hidden) return;
  end();
  const refused = heldKey() != null;
  forgetKey();
  showKeyForm(true);
  byId("key-refused").textContent = refused ? "The API does not know this key, or no longer." : "";
  byId("key").focus();
}

function showKeyForm(isShown) {
  byId("ask-key").hidden = !isShown;
  byId("market").hidden = isShown;
  byId("choice").hidden = isShown;
  byId("forget-key").hidden = !heldKey();
}

byId("ask-key").addEventListener("submit", (event) => {
  event.preventDefault();
  holdKey(byId("key").value);
  byId("key").value = "";
  begin();
});

byId("forget-key").addEventListener("click", () => {
  forgetKey();
  location.reload();
});

byId("view").addEventListener("change", (event) => {
  byId("chart-view").hidden = event.target.value !== "chart";
  byId("table-view").hidden = event.target.value !== "table";
});

takeKeyFromAddress();
begin();
