// What the reader must know and would not see: one line for each matter, told once.

export class Notices {
  #element;
  #lines = new Map();

  constructor(element) {
    this.#element = element;
  }

  /** Say something of a matter; null takes it back. Saying the same again changes nothing. */
  say(matter, text, kind = "warning") {
    const line = this.#lines.get(matter);
    if (text == null) {
      line?.remove();
      this.#lines.delete(matter);
      return;
    }
    if (line?.textContent === text) return;
    const told = line ?? document.createElement("p");
    told.className = `notice ${kind}`;
    told.textContent = text;
    this.#lines.set(matter, told);
    if (!line) this.#element.append(told);
  }

  /** Say something that matters for a moment. */
  mention(matter, text, { seconds }) {
    this.say(matter, text, "good");
    setTimeout(() => this.say(matter, null), seconds * 1000);
  }
}
