// The live rows, as server-sent events. EventSource cannot send a key, so they are read by hand.

import { query, request } from "./api.js";
import { backoff, pause } from "./repeat.js";

// The API sends a comment now and then; a stream that is silent for longer is dead.
const SILENCE_MS = 40_000;

/**
 * Follow relations of one instrument until the signal is aborted, again after each loss.
 *
 * on.row(relation, row) is called for each row, on.state(state, error) when the stream is
 * "connecting", "open" or "lost".
 */
export async function follow({ relations, venue, symbol }, { signal, on }) {
  const url = `v1/stream?${query({ relation: relations, venue, symbol })}`;
  let lastId = null;
  let failures = 0;
  while (!signal.aborted) {
    on.state("connecting");
    try {
      await read(url, { signal, lastId }, {
        opened: () => {
          failures = 0;
          on.state("open");
        },
        event: ({ name, id, data }) => {
          lastId = id ?? lastId;
          if (data) on.row(name, JSON.parse(data));
        },
      });
      throw new Error("the stream ended");
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      on.state("lost", error);
      await pause(error.retryAfter ?? backoff(failures), signal);
    }
  }
}

async function read(url, { signal, lastId }, on) {
  const silence = new AbortController();
  let timer = null;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  heard();
  try {
    const response = await request(url, {
      headers: { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) },
      signal: AbortSignal.any([signal, silence.signal]),
    });
    on.opened();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parse = eventParser(on.event);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      parse(value);
    }
  } finally {
    clearTimeout(timer);
  }
}

/** Return a function that takes text as it comes, and tells of each event that has ended. */
export function eventParser(tell) {
  let rest = "";
  let event = { name: "message", id: null, data: "" };
  return (text) => {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        tell(event);
        event = { name: "message", id: null, data: "" };
        continue;
      }
      const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
      if (field === "event") event.name = value;
      else if (field === "id") event.id = value;
      else if (field === "data") event.data += event.data ? `\n${value}` : value;
    }
  };
}
