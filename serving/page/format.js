// How values are written. Decimals come as text and stay text: no digit passes through a float.

const MINUTE_MS = 60_000;

/** Write a decimal with groups of thousands and without the zeros that end it. */
export function decimal(text, { places = 0 } = {}) {
  if (text == null) return "–";
  const [, sign, whole, fraction = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text);
  const digits = fraction.replace(/0+$/, "").padEnd(places, "0");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return `${sign}${grouped}${digits ? `.${digits}` : ""}`;
}

export const count = (number) => number.toLocaleString("en-GB");

/** Write an instant to the second: 2024-08-08 23:58:07. */
export const second = (iso) => (iso == null ? "–" : iso.slice(0, 19).replace("T", " "));

/** Write an instant to the minute: 2024-08-08 23:58, or without the day, if it is that one. */
export const minute = (iso, { day = null } = {}) =>
  iso.slice(0, 10) === day ? iso.slice(11, 16) : iso.slice(0, 16).replace("T", " ");

/** Write the change from one price to another. */
export function percent(from, to) {
  const change = (Number(to) / Number(from) - 1) * 100;
  return `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(2)} %`;
}

/** Write a span of time in the unit that suits it. */
export function duration(seconds) {
  if (seconds == null) return "–";
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`;
  return `${count(Math.round(seconds / 86_400))} days`;
}

export const seconds = (iso) => Date.parse(iso) / 1000;

/** Return the instant so many minutes later, as ISO 8601. */
export const later = (iso, minutes) =>
  new Date(Date.parse(iso) + minutes * MINUTE_MS).toISOString();
