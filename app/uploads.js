// Clips on their way: in pieces, one after another, going on where they stopped, also after a reload.
import { api, post, remove } from "./api.js";
import { button, el, fill, say, tried } from "./dom.js";
import { bytes, clock } from "./times.js";

const PIECE = 8 << 20; // bytes

export class Uploads {
  /** wish(): what to ask for each clip that is dropped now. ondone(video): a clip is here. */
  constructor({ wish, ondone }) {
    Object.assign(this, { wish, ondone, waiting: [], sending: false, lines: 0 });
    this.element = el("ul", { class: "uploads", "aria-label": "Uploads" });
    this.kept = el("ul", { class: "uploads kept", "aria-label": "Unfinished uploads" });
    addEventListener("beforeunload", (event) => this.lines && event.preventDefault());
  }

  async take(files) {
    for (const file of [...files]) this.waiting.push([file, this.line(file), this.wish()]);
    if (this.sending) return;
    this.sending = true;
    while (this.waiting.length) await this.send(...this.waiting.shift());
    this.sending = false;
  }

  line(file) {
    const bar = el("progress", { max: file.size || 1, value: 0, "aria-label": `upload of ${file.name}` });
    const words = el("span", { class: "small" }, "waits");
    const control = new AbortController();
    const item = el(
      "li",
      {},
      el("span", { class: "name" }, file.name),
      bar,
      words,
      button("Stop", () => control.abort(), { picture: "x" }),
    );
    this.lines++;
    this.element.append(item);
    return { item, bar, words, signal: control.signal };
  }

  async send(file, { item, bar, words, signal }, wish) {
    const key = `vlad upload ${file.name} ${file.size} ${file.lastModified}`;
    try {
      signal.throwIfAborted();
      if (!file.size) throw new Error("the file is empty");
      let upload = await resumed(key);
      if (!upload) {
        upload = await api("/uploads", { method: "POST", body: { name: file.name, size: file.size }, signal });
        localStorage.setItem(key, upload.id);
      }
      await this.pieces(file, upload, { bar, words, signal });
      const made = await post(`/uploads/${upload.id}/finish`, wish);
      localStorage.removeItem(key);
      item.remove();
      this.ondone(made);
    } catch (error) {
      bar.remove();
      item
        .querySelector("button")
        .replaceWith(button("Remove from this list", () => item.remove(), { picture: "x", words: false }));
      words.textContent = error.name === "AbortError" ? "stopped; choose the file again to go on" : error.message;
      if (error.name !== "AbortError") say(`${file.name}: ${error.message}`, { wrong: true });
    } finally {
      this.lines--;
    }
  }

  async pieces(file, upload, { bar, words, signal }) {
    const began = performance.now(),
      first = upload.received;
    let at = first,
      tries = 0;
    while (at < file.size) {
      try {
        const sent = await api(`/uploads/${upload.id}?offset=${at}`, {
          method: "PUT",
          body: file.slice(at, at + PIECE),
          signal,
        });
        at = sent.received;
        tries = 0;
      } catch (error) {
        const busy = [429, 503].includes(error.status); // somebody else's turn: it comes back by itself
        if (error.name === "AbortError" || (error.status && error.status !== 409 && !busy) || ++tries > (busy ? 60 : 5))
          throw error;
        words.textContent = busy ? "the server is busy; going on in a moment" : "the connection broke; trying again";
        await new Promise((done) => setTimeout(done, 1000 * (busy ? Math.min(60, error.later ?? 3) : tries)));
        at = (await api(`/uploads/${upload.id}`).catch(() => ({ received: at }))).received;
      }
      const left = ((file.size - at) * (performance.now() - began)) / Math.max(1, at - first) / 1000;
      bar.value = at;
      words.textContent = `${bytes(at)} of ${bytes(file.size)}` + (at > first ? `, ${clock(left, 0)} left` : "");
    }
  }

  /** Uploads that stopped: seen again after a reload, to go on or to be dropped. */
  async unfinished() {
    if (this.sending) return;
    const found = await api("/uploads").catch(() => []);
    fill(
      this.kept,
      found.map((u) =>
        el(
          "li",
          {},
          el("span", { class: "name" }, u.name),
          el("progress", { max: u.size, value: u.received, "aria-label": `${u.name} so far` }),
          el(
            "span",
            { class: "small" },
            `${bytes(u.received)} of ${bytes(u.size)} are here; choose the file again to go on`,
          ),
          button(
            `Drop the upload of ${u.name}`,
            () =>
              tried(async () => {
                await remove(`/uploads/${u.id}`);
                await this.unfinished();
              }),
            { picture: "trash-2", words: false },
          ),
        ),
      ),
    );
  }
}

async function resumed(key) {
  const id = localStorage.getItem(key);
  if (!id) return null;
  return api(`/uploads/${id}`).catch(() => {
    localStorage.removeItem(key);
    return null;
  });
}
