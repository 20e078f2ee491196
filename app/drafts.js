// What somebody wrote and did not send yet: by segment and field, until it is sent, also over a reload. Knows no server.

const PREFIX = "vlad draft ";
const KEEP = 30 * 86_400_000; // ms

export const drafts = {
  get(id, field) {
    return read(`${PREFIX}${id} ${field}`)?.text ?? "";
  },
  set(id, field, text) {
    const key = `${PREFIX}${id} ${field}`;
    try {
      for (const store of [sessionStorage, localStorage])
        // this tab's own words, and those for a tab that comes later
        if (text) store.setItem(key, JSON.stringify({ text, at: Date.now() }));
        else store.removeItem(key);
    } catch {
      // a full or closed store: the field itself still holds the words
    }
  },
};

function read(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? localStorage.getItem(key));
  } catch {
    return null;
  }
}

/** Forget drafts that nobody touched for a month. */
export function sweep(now = Date.now()) {
  for (const key of Object.keys(localStorage))
    if (key.startsWith(PREFIX) && !(now - (read(key)?.at ?? 0) < KEEP)) {
      localStorage.removeItem(key);
      sessionStorage.removeItem(key);
    }
}

/** A field that holds the draft of whatever it is shown for. */
export class Draft {
  constructor(input, field) {
    Object.assign(this, { input, field, id: null });
    input.addEventListener("input", () => this.id && drafts.set(this.id, field, input.value));
  }

  /** Show the draft of another id; the same one again leaves text, cursor and selection as they are. */
  show(id) {
    if (id === this.id) return;
    this.id = id;
    this.input.value = id ? drafts.get(id, this.field) : "";
  }

  /** It was sent for `id`: forget it, unless more was written meanwhile. */
  sent(id, text) {
    if (drafts.get(id, this.field).trim() === text.trim()) drafts.set(id, this.field, "");
    if (this.id === id && this.input.value.trim() === text.trim()) this.input.value = "";
  }
}
