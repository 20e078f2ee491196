// A part of the page that changes only when what it shows changed: a late answer takes no focus, no text, no scroll and no selection away.
import { el, fill } from "./dom.js";

export class Part {
  /** of(value): what it shows of it, as JSON takes it. render(value): its children. */
  constructor(of, render) {
    Object.assign(this, { of, render, place: el("div", {}), key: null });
  }

  tell(value) {
    const key = JSON.stringify([value.id, this.of(value)]);
    if (key === this.key) return;
    this.key = key;
    keeping(this.place, () => fill(this.place, this.render(value)));
  }
}

/** Change what is in `place`; where the focus was in it, it goes to the element of the same name. */
function keeping(place, change) {
  const had = place.contains(document.activeElement) ? document.activeElement : null,
    name = had && (had.getAttribute("aria-label") || had.textContent);
  const open = [...place.querySelectorAll("details[open]")].map((d) => d.className);
  change();
  for (const one of place.querySelectorAll("details")) one.open ||= open.includes(one.className);
  if (had && !had.isConnected)
    [...place.querySelectorAll("button, input, select, textarea, summary")]
      .find((e) => (e.getAttribute("aria-label") || e.textContent) === name)
      ?.focus({ preventScroll: true });
}
