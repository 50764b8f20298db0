// Asks the API: with the key, if there is one; what goes wrong comes as an ApiError.

import { heldKey } from "./key.js";

// An answer that takes longer is one that nobody waits for any more.
const PATIENCE_MS = 20_000;

/**
 * An answer that is none.
 *
 * status: that of HTTP; 0 when nothing answered. retryAfter: seconds, null when nobody said.
 */
export class ApiError extends Error {
  constructor(message, { status = 0, retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  get needsKey() {
    return this.status === 401;
  }
}

/** Return the JSON of a path below /v1. Parameters that are null are left out. */
export async function get(path, parameters = {}) {
  const response = await request(`v1/${path}?${query(parameters)}`, {
    headers: { Accept: "application/json" },
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  return response.json();
}

/** Return all pages of a path as one: their rows, and what the poorest of them says of itself. */
export async function getAll(path, parameters = {}) {
  const all = await get(path, parameters);
  for (let { next } = all; next != null; ) {
    const page = await get(path, { ...parameters, cursor: next });
    all.data.push(...page.data);
    if (page.meta.degraded) all.meta = page.meta;
    ({ next } = page);
  }
  return all;
}

/** Send a request with the key; throws ApiError for anything but a good answer. */
export async function request(url, { headers, ...options }) {
  const key = heldKey();
  let response;
  try {
    response = await fetch(url, {
      ...options,
      headers: key ? { ...headers, Authorization: `Bearer ${key}` } : headers,
      cache: "no-store",
      // The key says who asks. A cookie of another program on this host doesn't.
      credentials: "omit",
    });
  } catch (error) {
    throw new ApiError(error.name === "TimeoutError" ? "no answer in time" : "no answer");
  }
  if (response.ok) return response;
  throw new ApiError(await problemOf(response), {
    status: response.status,
    retryAfter: Number(response.headers.get("Retry-After")) || null,
  });
}

/** Write parameters as a query; a list is repeated. */
export function query(parameters) {
  const pairs = Object.entries(parameters).flatMap(([name, value]) =>
    [value].flat().filter((one) => one != null).map((one) => [name, one]),
  );
  return new URLSearchParams(pairs).toString();
}

async function problemOf(response) {
  try {
    const { title, detail } = await response.json();
    return detail ?? title;
  } catch {
    return `${response.status} ${response.statusText}`;
  }
}
