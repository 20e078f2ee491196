// Search: words to moments over everything that was analysed, by how frames look.
import { api, me } from "./api.js";
import { choice, el, fill, labelled, options, tried } from "./dom.js";
import { facets } from "./live.js";
import { go } from "./rooms.js";
import { picture } from "./sprites.js";
import { clock, plural, wall } from "./times.js";

export async function start(root) {
  const { cannot } = await me();
  const words = el("input", { type: "search", maxLength: 300, placeholder: "a person running", required: true });
  const camera = choice([["", "every camera"]]),
    label = choice([["", "every class"]]);
  const among = choice([
    ["", "everything"],
    ["open", "open segments"],
    ["confirmed", "confirmed segments"],
    ["dismissed", "dismissed segments"],
  ]);
  const place = "by the clock of the place",
    after = el("input", { type: "datetime-local", title: place }),
    before = el("input", { type: "datetime-local", title: place });
  const told = el("p", { role: "status" }),
    well = el("ol", { class: "moments", "aria-label": "Moments that match well" }),
    rest = el(
      "details",
      { class: "rest", hidden: true },
      el("summary", {}, "The likest of the rest; none of them a good match"),
      el("ol", { class: "moments", "aria-label": "Other moments" }),
    );
  const form = el(
    "form",
    {
      class: "row",
      role: "search",
      onsubmit: (event) => {
        event.preventDefault();
        go("search", { words: words.value });
      },
    },
    labelled("What do you look for?", words),
    labelled("Camera", camera),
    labelled("Class", label),
    labelled("Among", among),
    labelled("From", after),
    labelled("Until", before),
    el("button", { type: "submit", class: "main" }, "Search"),
  );
  fill(
    root,
    el(
      "div",
      { class: "vlad search" },
      cannot?.search ? el("p", { class: "note small", role: "note" }, cannot.search) : null,
      form,
      told,
      well,
      rest,
    ),
  );

  let latest = null;

  async function find(query, spoken) {
    const filters = { camera: camera.value, label: label.value, status: among.value };
    for (const [name, input] of [
      ["after", after],
      ["before", before],
    ])
      if (input.value) filters[name] = input.value;
    const own = {};
    latest = own;
    told.textContent = "searching…";
    fill(well);
    rest.hidden = true;
    const found = await tried(() => api("/search?" + new URLSearchParams({ ...query, ...filters })), form);
    if (latest !== own) return; // another search was sent meanwhile
    if (!found) {
      told.textContent = "";
      return;
    }
    const good = found.moments.filter((m) => m.well || query.like), // a picture has no words that could be missing
      others = found.moments.filter((m) => !good.includes(m));
    told.textContent = !found.moments.length
      ? "Nothing is here to search, or the filters leave nothing."
      : query.like
        ? "Moments that look like that segment, the most alike first; alike is not the same."
        : good.length
          ? `${plural(good.length, "moment")} ${spoken} ${good.length === 1 ? "matches" : "match"} well.`
          : `Nothing matches well ${spoken}.`;
    fill(well, good.map(card));
    fill(rest.lastElementChild, others.map(card));
    rest.hidden = !others.length;
    rest.open = !good.length;
  }

  function card(m) {
    const middle = (m.start + m.end) / 2,
      there = wall(m.starts_at);
    return el(
      "li",
      {},
      el(
        "button",
        {
          type: "button",
          class: m.well ? "" : "poor",
          onclick: () => go("review", { video: m.video, at: m.start.toFixed(2) }),
        },
        picture(m.video, middle),
        el("span", { class: "name" }, m.name),
        el(
          "span",
          { class: "small" },
          [there && `${there.day} ${there.time}`, clock(m.start), m.camera, `likeness ${m.likeness.toFixed(2)}`]
            .filter(Boolean)
            .join(" · "),
        ),
      ),
    );
  }

  async function arrive(params) {
    const known = await tried(facets);
    if (known) {
      options(camera, [["", "every camera"], ...known.cameras.map((c) => [c, c])]);
      options(label, [["", "every class"], ...known.labels.map((c) => [c, c])]);
    }
    if (params.like) {
      words.value = "";
      await find({ like: params.like }, "");
    } else if (params.words) {
      words.value = params.words;
      await find({ words: params.words }, `for “${params.words}”`);
    } else words.focus();
  }
  return { arrive };
}
