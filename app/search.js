// Search: words to moments over everything that was analysed, by how frames look.
import { api, choice, clock, el, fill, frames, go, labelled, options, room, tried } from "./common.js";

export function start(root) {
  const words = el("input", { type: "search", maxLength: 300, placeholder: "a person running", required: true });
  const camera = choice([["", "every camera"]]),
    label = choice([["", "every class"]]);
  const status = choice([
    ["", "everything"],
    ["open", "open segments"],
    ["confirmed", "confirmed segments"],
    ["dismissed", "dismissed segments"],
  ]);
  const after = el("input", { type: "datetime-local" }),
    before = el("input", { type: "datetime-local" });
  const told = el("p", { role: "status" }),
    list = el("ol", { class: "moments", "aria-label": "Moments" });
  const form = el(
    "form",
    {
      class: "row",
      role: "search",
      onsubmit: (event) => {
        event.preventDefault();
        go("search", { words: words.value, n: Date.now() % 1e6 });
      },
    },
    labelled("What do you look for?", words),
    labelled("Camera", camera),
    labelled("Class", label),
    labelled("Among", status),
    labelled("From", after),
    labelled("Until", before),
    el("button", { type: "submit", class: "main" }, "Search"),
  );
  fill(
    root,
    el(
      "div",
      { class: "vlad search" },
      form,
      told,
      list,
      el(
        "p",
        { class: "small" },
        "By how frames look, with CLIP: it knows things and places better than deeds, and nano knows only its simulated world's words. From and until: when a moment was recorded, or else when its clip was added.",
      ),
    ),
  );

  async function find(query, spoken) {
    const filters = { camera: camera.value, label: label.value, status: status.value };
    for (const [name, input] of [
      ["after", after],
      ["before", before],
    ])
      if (input.value) filters[name] = String(new Date(input.value).getTime() / 1000);
    told.textContent = "searching";
    fill(list);
    const found = await tried(() => api("/search?" + new URLSearchParams({ ...query, ...filters })), form);
    if (!found) {
      told.textContent = "";
      return;
    }
    const well = found.moments.filter((m) => m.well).length;
    told.textContent = !found.moments.length
      ? "Nothing is here to search, or the filters leave nothing."
      : found.well
        ? `${well} moment${well === 1 ? "" : "s"} ${spoken} match${well === 1 ? "es" : ""} well${well < found.moments.length ? "; fainter: the likest of the rest" : ""}`
        : `Nothing matches well. The likest there is ${spoken}:`;
    told.className = found.well ? "" : "poor";
    const pictures = new Map();
    for (const video of new Set(found.moments.map((m) => m.video))) {
      const own = found.moments.filter((m) => m.video === video);
      frames(
        video,
        own.map((m) => (m.start + m.end) / 2),
      ).forEach((picture, i) => pictures.set(own[i], picture));
    }
    fill(
      list,
      found.moments.map((m) =>
        el(
          "li",
          {},
          el(
            "button",
            {
              type: "button",
              class: m.well ? "" : "poor",
              onclick: () => go("review", { video: m.video, at: m.start.toFixed(2) }),
            },
            pictures.get(m),
            el("span", { class: "name" }, m.name),
            el(
              "span",
              {},
              `${clock(m.start)} ${m.camera} likeness ${m.likeness.toFixed(2)}${m.well ? "" : ", no good match"}`,
            ),
          ),
        ),
      ),
    );
  }

  room(root, "search", async (params) => {
    const facets = await tried(() => api("/facets"));
    if (facets) {
      options(camera, [["", "every camera"], ...facets.cameras.map((c) => [c, c])]);
      options(label, [["", "every class"], ...facets.labels.map((c) => [c, c])]);
    }
    if (params.like) find({ like: params.like }, "like that segment");
    else if (params.words) {
      words.value = params.words;
      find({ words: params.words }, `for “${params.words}”`);
    } else words.focus();
  });
}
