// How the platform is: what reconciliation found, what was refused, how far the lake is behind.

import { get } from "./api.js";
import { count, duration, minute } from "./format.js";
import { repeat } from "./repeat.js";
import { showRows } from "./rows.js";

const POLL_SECONDS = 10;
const SHOWN_RECONCILIATIONS = 12;
const TRADES = "market.trades";
const NOT_ALLOWED = 403;

const byId = (id) => document.getElementById(id);

/** Follow them until the signal is aborted; refused(error) is called when the key is not known. */
export function followOperations({ signal, refused }) {
  const failed = (error) => error.needsKey && refused(error);
  const followed = (poll, told) =>
    repeat(POLL_SECONDS, () => renew(poll, told), { signal, failed });
  followed(pollReconciliations, byId("reconciliations-told"));
  followed(pollDeadLetters, byId("dead-letters-told"));
  followed(pollLag, byId("lag"));
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
  return rows.length ? "" : "None yet.";
}

async function pollDeadLetters() {
  const { data } = await get("dead-letters");
  const rows = data.sort((one, other) => other.rows - one.rows).map((row) => ({
    key: `${row.topic} ${row.stage} ${row.reason}`,
    cells: [row.reason.replaceAll("_", " "), count(row.rows), row.topic, row.stage],
  }));
  showRows(byId("dead-letters"), rows);
  return rows.length ? "" : "None.";
}

async function pollLag() {
  const { data } = await get("lag");
  const trades = data.find((row) => row.topic === TRADES);
  if (!trades) return "–";
  const { events, freshness_seconds: age } = trades;
  return `${count(events)} trades${events ? `, the oldest ${duration(age)} old` : ""}`;
}

// What goes wrong here is told where it is missed: a notice of it would hide what matters more.
async function renew(poll, told) {
  try {
    told.textContent = await poll();
  } catch (error) {
    told.textContent = error.status === NOT_ALLOWED ? "not for this key" : "not known at present";
    throw error;
  }
}
