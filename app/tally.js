// What a camera's zones and lines counted in a clip: a table, a small curve of each zone, and the same to download.
import { api } from "./api.js";
import { el, fill, tried } from "./dom.js";
import { svg } from "./shapes.js";
import { to } from "./rooms.js";

const HEADS = ["Zone or line", "Of", "In", "Out", "Most at once", "Seconds"];

export class Tally {
  constructor() {
    this.place = el("div", { class: "counted" });
    this.element = el(
      "details",
      { class: "more", ontoggle: () => this.element.open && this.load() },
      el("summary", {}, "Counts by zone and line"),
      this.place,
    );
    this.clip = null;
  }

  /** Of another clip: asked for when somebody opens it. */
  show(clip) {
    const other = clip?.id !== this.clip?.id;
    this.clip = clip;
    if (other) fill(this.place);
    if (other && this.element.open && clip?.analysed) this.load();
  }

  load() {
    const { clip } = this;
    if (!clip?.analysed) return;
    tried(async () => {
      const found = await api(`/videos/${clip.id}/counts`);
      if (this.clip === clip || this.clip?.id === clip.id) this.tell(clip, found);
    }, this.place);
  }

  tell(clip, { rows, curves, version }) {
    const places = el("a", { href: to("places", { camera: clip.camera }) }, "Places");
    if (!rows.length) {
      fill(
        this.place,
        el("p", { class: "small" }, "This camera has no zones and no lines; draw some under ", places, "."),
      );
      return;
    }
    fill(
      this.place,
      el(
        "table",
        { tabIndex: 0 },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            HEADS.map((h) => el("th", { scope: "col" }, h)),
          ),
        ),
        el(
          "tbody",
          {},
          rows.map((r) =>
            el(
              "tr",
              {},
              [r.zone ?? r.line, r.kind, r.entered ?? r.inwards, r.left ?? r.outwards, r.most ?? "", r.dwell ?? ""].map(
                (v) => el("td", {}, v),
              ),
            ),
          ),
        ),
      ),
      curves.map((c) => this.curve(c)),
      el(
        "p",
        { class: "small" },
        `By version ${version} of `,
        places,
        ". Somebody counts where their feet are; who was hidden for long counts twice. ",
        el("a", { href: `/api/videos/${clip.id}/counts.csv`, download: "" }, "As a table (CSV)"),
      ),
    );
  }

  curve({ zone, kind, values }) {
    const top = Math.max(...values, 1),
      words = `${kind} in ${zone}, at most ${Math.max(...values)} at once`;
    const points = values.flatMap((v, i) => [`${i},${top - v}`, `${i + 1},${top - v}`]).join(" ");
    return el(
      "figure",
      {},
      el("figcaption", { class: "small" }, words),
      svg(
        "svg",
        {
          viewBox: `0 -0.1 ${values.length} ${top + 0.2}`,
          preserveAspectRatio: "none",
          role: "img",
          "aria-label": words,
        },
        svg("polyline", { points }),
      ),
    );
  }
}
