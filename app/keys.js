// Keys as shortcuts: what is typed is never one, a held key counts once, and a field that was just lost takes the keys with it.

const AFTER = 500; // ms after a field lost the focus in which no key is a shortcut
const EDITS = "input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea, [contenteditable=true]";

/** What a key event is called: a letter in lower case, with Shift where it has no sign of its own. */
export function named(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return event.shiftKey && /^([a-z]|Arrow.*)$/.test(key) ? `Shift+${key}` : key;
}

/** Whether somebody is writing: then nothing goes on to another segment under his hands, and nothing takes the focus. */
export const writing = () => document.activeElement?.matches(EDITS) ?? false;

export class Keys {
  /** acts: key to function, or to {act, held: true} where a held key repeats. active(): whether they count now. */
  constructor(acts, active) {
    Object.assign(this, { acts, active, lost: -Infinity });
    document.addEventListener("focusout", (event) => {
      if (event.target.matches?.(EDITS)) this.lost = performance.now();
    });
    document.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!this.active() || document.querySelector("dialog[open]")) return;
    const at = event.target;
    if (at.matches?.(EDITS)) {
      if (event.key === "Escape") at.blur();
      return;
    }
    if (at.closest?.("select")) {
      if (event.key === "Escape") at.blur();
      return; // letters choose an option
    }
    const name = named(event);
    if (event.key === " " && at.closest?.("button, a, summary, video, label, [type=checkbox]")) return;
    const found = this.acts[name];
    if (!found) return;
    event.preventDefault();
    if (performance.now() - this.lost < AFTER) return;
    if (event.repeat && !found.held) return;
    (found.act ?? found)();
  }
}

let pointed = false;

/** From now on: a held Enter or space presses no button again, whatever has the focus. And it is known whether keys or a pointer did the last thing. */
export function once() {
  document.addEventListener("pointerdown", () => (pointed = true), true);
  document.addEventListener(
    "keydown",
    (event) => {
      pointed = false;
      if (event.repeat && /^(Enter| )$/.test(event.key) && event.target.closest?.("button, a, summary"))
        event.preventDefault();
    },
    true,
  );
}

/** After a choice by pointer the keys are shortcuts again; whoever chooses by keys stays in the field. */
export function leave(field) {
  if (pointed) field.blur();
}
