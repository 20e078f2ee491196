// Analyse: clips come in pieces and go on where they stopped; each is a job that lives on the server.
import { api, bytes, clock, el, fill, go, labelled, me, poll, room, say, tried, when } from "./common.js";

const SHAPES = { queued: "…", running: "▶", done: "✓", failed: "✕", cancelled: "■" };

export async function start(root) {
  const admin = (await me()).scopes.includes("admin");
  const camera = el("input", { maxLength: 200, placeholder: "front door" });
  const recorded = el("input", { type: "datetime-local", step: "1" });
  const threshold = el("input", { type: "number", min: "0", max: "1", step: "0.01", placeholder: "the scorer's own" });
  const explain = el("input", { type: "checkbox", checked: true });
  const picker = el("input", {
    type: "file",
    multiple: true,
    accept: "video/*,.mkv,.avi,.ts,.flv,.asf",
    class: "picker",
    onchange: () => take(picker.files),
  });
  const drop = el(
    "label",
    { class: "drop" },
    el("strong", {}, "Drop clips here, or choose files"),
    el("span", {}, "up to 4 GiB each; an upload that stops goes on where it was when you choose the file again"),
    picker,
  );
  const uploads = el("ul", { class: "uploads", "aria-label": "Uploads" });
  const table = el("tbody", {});
  const empty = el("p", {}, "No clips yet. Drop one above; nothing leaves this server.");
  fill(
    root,
    el(
      "div",
      { class: "vlad analyse" },
      drop,
      el(
        "div",
        { class: "row" },
        labelled("Camera", camera),
        labelled("Recorded at", recorded),
        labelled("Threshold", threshold),
        el("label", { class: "check" }, explain, " explain what is flagged"),
      ),
      uploads,
      el(
        "table",
        { class: "clips" },
        el("caption", {}, "Clips"),
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ["Clip", "Camera", "Added", "Length", "State", ""].map((h) => el("th", { scope: "col" }, h)),
          ),
        ),
        table,
      ),
      empty,
    ),
  );
  for (const kind of ["dragover", "dragleave", "drop"])
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") take(event.dataTransfer.files);
    });
  addEventListener("beforeunload", (event) => {
    if (uploads.querySelector("progress")) event.preventDefault();
  });

  const waiting = [];
  let sending = false;
  async function take(files) {
    for (const file of [...files]) waiting.push([file, line(file), wish()]);
    picker.value = "";
    if (sending) return;
    sending = true;
    while (waiting.length) await send(...waiting.shift());
    sending = false;
  }

  function wish() {
    return {
      camera: camera.value,
      explain: explain.checked,
      ...(threshold.value === "" ? {} : { enter: Number(threshold.value) }),
      ...(recorded.value ? { recorded: new Date(recorded.value).getTime() / 1000 } : {}),
    };
  }

  function line(file) {
    const bar = el("progress", { max: file.size || 1, value: 0, "aria-label": `upload of ${file.name}` });
    const words = el("span", {}, "waits");
    const control = new AbortController();
    const item = el(
      "li",
      {},
      el("span", { class: "name" }, file.name),
      bar,
      words,
      el("button", { type: "button", onclick: () => control.abort() }, "Stop"),
    );
    uploads.append(item);
    return { item, bar, words, signal: control.signal };
  }

  async function send(file, { item, bar, words, signal }, { camera: where, ...rest }) {
    const key = `vlad upload ${file.name} ${file.size} ${file.lastModified}`;
    try {
      signal.throwIfAborted();
      let upload = await resumed(key);
      if (!upload) {
        upload = await api("/uploads", {
          method: "POST",
          body: { name: file.name, size: file.size, camera: where },
          signal,
        });
        localStorage.setItem(key, upload.id);
      }
      let at = upload.received,
        tries = 0;
      const began = performance.now(),
        first = at;
      while (at < file.size) {
        try {
          at = (
            await api(`/uploads/${upload.id}?offset=${at}`, {
              method: "PUT",
              body: file.slice(at, at + (8 << 20)),
              signal,
            })
          ).received;
          tries = 0;
        } catch (error) {
          if (error.name === "AbortError" || (error.status && error.status !== 409) || ++tries > 5) throw error;
          words.textContent = "the connection broke; trying again";
          await new Promise((done) => setTimeout(done, 1000 * tries));
          at = (await api(`/uploads/${upload.id}`).catch(() => ({ received: at }))).received;
        }
        const left = ((file.size - at) * (performance.now() - began)) / Math.max(1, at - first) / 1000;
        bar.value = at;
        words.textContent = `${bytes(at)} of ${bytes(file.size)}` + (at > first ? `, ${clock(left, 0)} left` : "");
      }
      await api(`/uploads/${upload.id}/finish`, { method: "POST", body: rest });
      localStorage.removeItem(key);
      item.remove();
      refresh();
    } catch (error) {
      bar.remove();
      item
        .querySelector("button")
        .replaceWith(el("button", { type: "button", onclick: () => item.remove() }, "Remove from this list"));
      words.textContent = error.name === "AbortError" ? "stopped; choose the file again to go on" : error.message;
      if (error.name !== "AbortError") say(`${file.name}: ${error.message}`, { wrong: true });
    }
  }

  async function resumed(key) {
    const id = localStorage.getItem(key);
    return id
      ? api(`/uploads/${id}`).catch(() => {
          localStorage.removeItem(key);
          return null;
        })
      : null;
  }

  const rows = new Map();
  function row(clip) {
    const job = clip.job ?? { status: "", stage: "" };
    const text = JSON.stringify(clip);
    const old = rows.get(clip.id);
    if (old?.text === text) return old.made;
    const busy = job.status === "queued" || job.status === "running";
    const done = job.status === "done" || clip.duration !== null;
    const state = job.status === "running" ? job.stage : job.status;
    const made = el(
      "tr",
      { "data-id": clip.id },
      el("td", {}, done ? el("a", { href: `#review?video=${clip.id}` }, clip.name) : clip.name),
      el("td", {}, clip.camera),
      el("td", {}, when(clip.created)),
      el("td", {}, clip.duration === null ? bytes(clip.size) : clock(clip.duration, 0)),
      el(
        "td",
        { class: `state ${job.status}` },
        el("span", { "aria-hidden": "true" }, (SHAPES[job.status] ?? "") + " "),
        state,
        job.status === "running"
          ? el("progress", {
              "aria-label": `${clip.name}: ${job.stage}`,
              ...(job.share === null ? {} : { max: 1, value: job.share }),
            })
          : null,
        job.seconds_left !== null && job.seconds_left !== undefined ? ` ${clock(job.seconds_left, 0)} left` : null,
        job.error ? el("div", { class: "why" }, job.error) : null,
      ),
      el(
        "td",
        {},
        el(
          "div",
          { class: "acts" },
          busy
            ? el(
                "button",
                {
                  type: "button",
                  "aria-label": `Cancel ${clip.name}`,
                  onclick: () => act(`/jobs/${job.id}/cancel`, "POST"),
                },
                "Cancel",
              )
            : el(
                "button",
                {
                  type: "button",
                  "aria-label": `Analyse ${clip.name} again`,
                  onclick: () => {
                    const { camera: _, recorded: __, ...body } = wish();
                    act(`/videos/${clip.id}/analyse`, "POST", body);
                  },
                },
                "Again",
              ),
          done
            ? el(
                "button",
                {
                  type: "button",
                  "aria-label": `Review ${clip.name}`,
                  onclick: () => go("review", { video: clip.id }),
                },
                "Review",
              )
            : null,
          admin && !busy
            ? el(
                "button",
                {
                  type: "button",
                  "aria-label": `Remove ${clip.name}`,
                  onclick: () => {
                    if (confirm(`Remove ${clip.name}? Its file goes; what was decided of it stays in the log.`))
                      act(`/videos/${clip.id}`, "DELETE");
                  },
                },
                "Remove",
              )
            : null,
        ),
      ),
    );
    rows.set(clip.id, { text, made });
    return made;
  }

  const act = (path, method, body) =>
    tried(async () => {
      await api(path, { method, body });
      refresh();
    });
  const refresh = poll(root, async () => {
    const clips = await api("/videos");
    const wanted = clips.map(row);
    const active = document.activeElement;
    if (wanted.length !== table.children.length || wanted.some((made, i) => table.children[i] !== made))
      fill(table, wanted);
    if (active?.isConnected) active.focus();
    empty.hidden = clips.length > 0;
    return clips.some((c) => c.job && (c.job.status === "running" || c.job.status === "queued")) ? 1000 : 4000;
  });
  room(root, "analyse", refresh);
}
