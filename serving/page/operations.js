// How the platform is: what reconciliation found, what was refused, how far the lake is behind.

import { get } from "./api.js";
import { minute, count } from "./format.js";
import { repeat } from "./repeat.js";
import { showRows } from "./rows.js";

const POLL_SECONDS = 10;
const SHOWN_RECONCILIATIONS = 12;
const TRADES = "market.trades";
const NOT_ALLOWED = 403;

const byId = (id) => document.getElementById(id);

/** Follow them until the signal is aborted; failed(error) is told what was asked in vain. */
export function followOperations({ signal, failed }) {
  const followed = (table, poll) =>
    repeat(POLL_SECONDS, () => unlessForbidden(byId(table), poll), { signal, failed });
  followed("reconciliations", pollReconciliations);
  followed("dead-letters", pollDeadLetters);
  repeat(POLL_SECONDS, pollLag, { signal, failed: (error) => lagUnknown(error, failed) });
}

async function pollReconciliations() {
  const { data } = await get("reconciliations", { limit: SHOWN_RECONCILIATIONS });
  const today = data[0]?.recorded_at.slice(0, 10);
  const rows = data.map((row) => ({
    key: `${row.run_id} ${row.table_name}`,
    cells: [
      row.table_name.replace(/^gold\./, ""),
      { text: row.verdict, kind: row.verdict === "AGREE" ? "tag good" : "tag bad" },
      count(row.rows_compared),
      count(row.rows_drifted),
      minute(row.recorded_at, { day: today }),
    ],
  }));
  showRows(byId("reconciliations"), rows);
}

async function pollDeadLetters() {
  const { data } = await get("dead-letters");
  const rows = data.map((row) => ({
    key: `${row.stage} ${row.reason}`,
    cells: [row.reason.replaceAll("_", " "), row.stage, count(row.rows)],
  }));
  showRows(byId("dead-letters"), rows);
}

async function pollLag() {
  const { data } = await get("lag");
  const trades = data.find((row) => row.topic === TRADES);
  byId("lag").textContent = trades ? `${count(trades.events_behind)} trades` : "–";
}

function lagUnknown(error, failed) {
  byId("lag").textContent = "not known";
  if (error.status !== NOT_ALLOWED) failed(error);
}

// A key need not reach everything: the panel says so, and the rest of the page goes on.
async function unlessForbidden(table, poll) {
  const empty = table.closest("section").querySelector(".empty");
  empty.dataset.usual ??= empty.textContent;
  try {
    await poll();
    empty.textContent = empty.dataset.usual;
  } catch (error) {
    if (error.status !== NOT_ALLOWED) throw error;
    showRows(table, []);
    empty.textContent = "This key does not reach the operations of the platform.";
  }
}
