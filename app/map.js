// Where people of a clip went on the floor, in metres: a map over the plan, or on plain ground; and the same to download. Knows the player's time.
import { api } from "./api.js";
import { el, fill, tried } from "./dom.js";
import { svg } from "./shapes.js";
import { to } from "./rooms.js";
import { clock, plural } from "./times.js";

const ROWS = 50; // paths in the table; all are on the map

export class FloorMap {
  constructor(video) {
    this.place = el("div", { class: "floor" });
    this.element = el(
      "details",
      { class: "more", ontoggle: () => this.element.open && this.load() },
      el("summary", {}, "Map in metres"),
      this.place,
    );
    Object.assign(this, { video, clip: null, found: null });
    for (const kind of ["timeupdate", "seeked"]) video.addEventListener(kind, () => this.dots());
  }

  /** Of another clip: asked for when somebody opens it. */
  show(clip) {
    const other = clip?.id !== this.clip?.id || clip?.rules !== this.clip?.rules;
    this.clip = clip;
    if (!other) return;
    this.found = null;
    fill(this.place);
    if (this.element.open && clip?.analysed) this.load();
  }

  load() {
    const { clip } = this;
    if (!clip?.analysed) return;
    tried(async () => {
      const found = await api(`/videos/${clip.id}/map`);
      if (this.clip?.id === clip.id) this.tell(clip, found);
    }, this.place);
  }

  tell(clip, found) {
    const places = el("a", { href: to("places", { camera: clip.camera }) }, "Places");
    this.found = null;
    if (!found.map) {
      fill(
        this.place,
        el("p", { class: "small" }, "Nobody said where this camera's floor is; give four points under ", places, "."),
      );
      return;
    }
    const paths = found.map.features,
      words = `${plural(paths.length, "path")} on the floor`;
    this.frame = found.plan ? [0, 0, found.plan.width, found.plan.height] : around(found);
    const [x, y, wide, tall] = this.frame;
    this.marks = svg("g", { class: "now" });
    this.found = found;
    const drawn = svg(
      "svg",
      { viewBox: `${x} ${-y - tall} ${wide} ${tall}`, role: "img", "aria-label": words, class: "map" },
      ...(found.plan
        ? [
            svg("image", {
              href: `/api/plans/${found.plan.picture}?` + new URLSearchParams({ camera: clip.camera }),
              x: "0",
              y: String(-tall),
              width: String(wide),
              height: String(tall),
              preserveAspectRatio: "none",
            }),
          ]
        : []),
      ...paths.map((f) =>
        svg("polyline", { points: f.geometry.coordinates.map(([a, b]) => `${a},${-b}`).join(" "), class: kind(f) }),
      ),
      this.marks,
    );
    fill(
      this.place,
      drawn,
      el(
        "p",
        { class: "small" },
        `${words}; people blue, vehicles dashed; the map is ${wide.toFixed(1)} × ${tall.toFixed(1)} m. ${found.told.join(". ")}. `,
        found.left_out ? `${plural(found.left_out, "track")} from when the camera was moved left out. ` : "",
        el("a", { href: `/api/videos/${clip.id}/map.geojson`, download: "" }, "As GeoJSON"),
      ),
      this.table(paths),
    );
    this.dots();
  }

  table(paths) {
    if (!paths.length) return null;
    const heads = ["Who", "From", "To", "m/s", "Fastest"];
    return el(
      "table",
      { tabIndex: 0, "aria-label": "Paths" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          heads.map((h) => el("th", { scope: "col" }, h)),
        ),
      ),
      el(
        "tbody",
        {},
        paths.slice(0, ROWS).map(({ properties: p }) =>
          el(
            "tr",
            {},
            [`${p.label} ${p.track}`, clock(p.start), clock(p.end), p.speed.toFixed(1), p.fastest.toFixed(1)].map((v) =>
              el("td", {}, v),
            ),
          ),
        ),
      ),
    );
  }

  /** Who is where now. */
  dots() {
    if (!this.found || !this.element.open) return;
    const now = this.video.currentTime,
      radius = String(Math.max(this.frame[2], this.frame[3]) / 80);
    this.marks.replaceChildren(
      ...this.found.map.features
        .filter(({ properties: p }) => p.start <= now && now <= p.end)
        .map((f) => {
          const next = f.properties.times.findIndex((t) => t >= now),
            [cx, cy] = f.geometry.coordinates[Math.max(0, next)];
          return svg("circle", { cx, cy: -cy, r: radius, class: kind(f) });
        }),
    );
  }
}

const kind = (f) => (f.properties.label === "person" ? "person" : "thing");

/** What has to be on a map without a plan: x, y, width and height in metres, with room around. */
function around({ map, points }) {
  const all = [...points, ...map.features.flatMap((f) => f.geometry.coordinates)],
    low = [0, 1].map((k) => all.reduce((least, p) => Math.min(least, p[k]), Infinity)),
    high = [0, 1].map((k) => all.reduce((most, p) => Math.max(most, p[k]), -Infinity)),
    room = 0.05 * Math.max(high[0] - low[0], high[1] - low[1], 1);
  return [low[0] - room, low[1] - room, high[0] - low[0] + 2 * room, high[1] - low[1] + 2 * room];
}
