// How far what is shown is behind, by the second, and what keeps it from being newer.

import { duration } from "./format.js";

const byId = (id) => document.getElementById(id);
const UNAVAILABLE = 503;

export class Freshness {
  #notices;
  #answeredAt = null;
  #sinceCommit = null;
  #unshown = null;
  #stream = "–";
  #hadStream = false;
  #heardAt = null;

  constructor(notices) {
    this.#notices = notices;
    setInterval(() => this.#tick(), 1000);
  }

  /** The API has answered. */
  answered({ freshness_seconds: unshown, seconds_since_commit: sinceCommit, degraded }) {
    this.#answeredAt = Date.now();
    this.#unshown = unshown;
    this.#sinceCommit = sinceCommit;
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

  /** The live stream is connecting, open or lost. Not to have one is no trouble, to lose it is. */
  streamed(state, error) {
    if (state === "connecting") return; // what it was holds until it is known
    if (state === "open") this.#hadStream = true;
    const lost = "The live stream is lost and tried again; until then bars are some seconds older.";
    this.#notices.say("stream", state === "lost" && this.#hadStream ? lost : null);
    this.#stream = error?.status === UNAVAILABLE ? "no live tier" : state;
    this.#tick();
  }

  #tick() {
    const since = (moment) => (Date.now() - moment) / 1000;
    const { at, heard } = { at: this.#answeredAt, heard: this.#heardAt };
    byId("answered").textContent = at == null ? "–" : `${duration(since(at))} ago`;
    const ago = (seconds) => (seconds == null ? "–" : `${duration(seconds + since(at))} ago`);
    byId("shown").textContent = ago(this.#unshown);
    byId("written").textContent = ago(this.#sinceCommit);
    const isLive = this.#stream === "open" && heard != null;
    const lately = isLive ? `, ${duration(since(heard))} ago` : "";
    byId("stream").textContent = this.#stream + lately;
  }
}
