// How far what is shown is behind, by the second, and what keeps it from being newer.

import { duration } from "./format.js";

const byId = (id) => document.getElementById(id);
const UNAVAILABLE = 503;

export class Freshness {
  #notices;
  #answeredAt = null;
  #freshness = null;
  #stream = "";
  #heardAt = null;

  constructor(notices) {
    this.#notices = notices;
    setInterval(() => this.#tick(), 1000);
  }

  /** The API has answered. */
  answered({ freshness_seconds: freshness, degraded }) {
    this.#answeredAt = Date.now();
    this.#freshness = freshness;
    this.#notices.say("api", null);
    const older = degraded && `What is shown may be older than it should be: ${degraded}`;
    this.#notices.say("degraded", older || null);
    this.#tick();
  }

  /** The API was asked in vain. */
  failed({ message }) {
    this.#notices.say("api", `The API was asked in vain (${message}). It is asked again.`);
  }

  /** A live row has come. */
  heard() {
    this.#heardAt = Date.now();
  }

  /** The live stream is connecting, open or lost. */
  streamed(state, error) {
    const isAway = state === "lost" && error.status === UNAVAILABLE;
    if (state === "connecting" && this.#stream) return; // it is still what it was
    if (state === "lost" && !isAway) {
      this.#notices.say("stream", "The live stream is lost. It is tried again; bars come slower.");
    } else if (state === "open") {
      this.#notices.say("stream", null);
    }
    this.#stream = isAway ? "no live tier" : state;
    this.#tick();
  }

  #tick() {
    const since = (moment) => (Date.now() - moment) / 1000;
    const { at, heard } = { at: this.#answeredAt, heard: this.#heardAt };
    byId("answered").textContent = at == null ? "–" : `${duration(since(at))} ago`;
    byId("freshness").textContent =
      this.#freshness == null ? "–" : `at most ${duration(this.#freshness + since(at))}`;
    const lately = this.#stream === "open" && heard != null ? `, ${duration(since(heard))} ago` : "";
    byId("stream").textContent = (this.#stream || "–") + lately;
  }
}
