// What was followed, over the picture: boxes, tails of where feet went, zones and lines of the camera, each to be switched; and how many there were at once.
import { api } from "./api.js";
import { el } from "./dom.js";
import { drawing, label, svg, taken } from "./shapes.js";

const VEHICLES = new Set(["bicycle", "car", "motorcycle", "bus", "truck", "train"]);
const NEAR = 0.6; // seconds beyond its first and last sighting for which a box is still drawn
const STEPS = 600; // of the curve of counts
const TAIL = 5, // seconds of a tail
  BEAD = 0.25; // seconds between two of its points
export const LAYERS = ["boxes", "tails", "zones"];

/** Where a track is at a time (s), in a straight line between sightings; null where it is not in sight. */
export function boxAt({ times, boxes }, time) {
  const last = times.length - 1;
  if (time < times[0] - NEAR || time > times[last] + NEAR) return null;
  let after = times.findIndex((t) => t > time);
  if (after === 0 || last === 0) return boxes[0];
  if (after < 0) return boxes[last];
  const share = (time - times[after - 1]) / (times[after] - times[after - 1]);
  return boxes[after].map((v, i) => boxes[after - 1][i] * (1 - share) + v * share);
}

/** Where feet were in the last TAIL seconds, [x, y] from then to now; [] for what is not in sight. */
export function tailOf(track, time) {
  const points = [];
  if (!boxAt(track, time)) return points;
  for (let t = Math.max(track.times[0], time - TAIL); t < time; t += BEAD) points.push(boxAt(track, t));
  return [...points, boxAt(track, time)].filter(Boolean).map(([x, y, w, h]) => [x + w / 2, y + h]);
}

/** How many people and how many vehicles are in sight, at STEPS times over a clip. */
export function counts(tracks, duration) {
  const people = new Uint16Array(STEPS),
    vehicles = new Uint16Array(STEPS);
  for (const { label, times } of tracks) {
    const into = label === "person" ? people : VEHICLES.has(label) ? vehicles : null;
    if (!into) continue;
    const from = Math.floor((times[0] / duration) * STEPS),
      until = Math.min(STEPS - 1, Math.floor((times.at(-1) / duration) * STEPS));
    for (let i = Math.max(0, from); i <= until; i++) into[i]++;
  }
  return { people, vehicles };
}

/** The picture's own place within a player's stage, in pixels: it is fitted, with bars beside or above it. */
export function pictureOf({ over, video }) {
  const { clientWidth: wide, clientHeight: tall } = over,
    { videoWidth: w, videoHeight: h } = video,
    scale = Math.min(wide / (w || wide), tall / (h || tall));
  const [width, height] = [(w || wide) * scale, (h || tall) * scale];
  return { left: (wide - width) / 2, top: (tall - height) / 2, width, height };
}

export class Boxes {
  /** player: the player over whose picture they are drawn. ontracks(counts): others are here. */
  constructor(player, ontracks) {
    Object.assign(this, { player, ontracks, id: null, tracks: [], shapes: [] });
    const kept = (layer) => localStorage.getItem(`vlad ${layer}`) ?? String(layer === "boxes");
    this.on = Object.fromEntries(LAYERS.map((layer) => [layer, kept(layer) === "true"]));
    player.over.classList.add("boxes");
    const turn = () => {
      this.draw();
      if (!player.video.paused) requestAnimationFrame(turn);
    };
    for (const kind of ["play", "seeked", "timeupdate", "loadeddata"]) player.video.addEventListener(kind, turn);
    new ResizeObserver(() => this.draw()).observe(player.over);
  }

  async load(id, duration, camera = "") {
    Object.assign(this, { id, tracks: [], shapes: [] });
    this.draw();
    const [found, rules] = id
      ? await Promise.all([
          api(`/videos/${id}/tracks`).catch(() => []),
          api("/rules?" + new URLSearchParams({ camera })).catch(() => null),
        ])
      : [[], null];
    if (this.id !== id) return;
    this.tracks = found;
    this.shapes = rules ? taken(rules).shapes : [];
    this.ontracks(found.length ? counts(found, duration) : null);
    this.draw();
  }

  /** Switch a layer; whether it is on now. It is remembered. */
  toggle(layer) {
    this.on[layer] = !this.on[layer];
    localStorage.setItem(`vlad ${layer}`, String(this.on[layer]));
    this.draw();
    return this.on[layer];
  }

  draw() {
    const at = pictureOf(this.player);
    this.player.over.replaceChildren(
      ...(this.on.zones ? this.zones(at) : []),
      ...(this.on.tails ? [this.tails(at)] : []),
      ...(this.on.boxes ? this.boxes(at) : []),
    );
  }

  zones(at) {
    if (!this.shapes.length) return [];
    const whole = el("div", { class: "zones", style: px(at) });
    whole.append(
      drawing(this.shapes, [at.width || 1, at.height || 1]),
      ...this.shapes.map((shape) => {
        const [x, y] = label(shape);
        return el("span", { class: "name", style: { left: `${x * 100}%`, top: `${y * 100}%` } }, shape.name);
      }),
    );
    return [whole];
  }

  tails(at) {
    const whole = el("div", { class: "zones", style: px(at) }),
      { time } = this.player;
    const lines = this.tracks
      .map((track) => [track, tailOf(track, time)])
      .filter(([, points]) => points.length > 1)
      .map(([track, points]) =>
        svg("polyline", {
          points: points.map(([x, y]) => `${x * at.width},${y * at.height}`).join(" "),
          class: `tail ${track.label === "person" ? "person" : "thing"}`,
        }),
      );
    whole.append(
      svg(
        "svg",
        { viewBox: `0 0 ${at.width || 1} ${at.height || 1}`, class: "shapes", "aria-hidden": "true" },
        ...lines,
      ),
    );
    return whole;
  }

  boxes(at) {
    const made = [];
    for (const track of this.tracks) {
      const box = boxAt(track, this.player.time);
      if (!box) continue;
      const [x, y, w, h] = box;
      made.push(
        el(
          "span",
          {
            class: `box ${track.label === "person" ? "person" : "thing"}`,
            style: px({
              left: at.left + x * at.width,
              top: at.top + y * at.height,
              width: w * at.width,
              height: h * at.height,
            }),
          },
          el("span", {}, track.label),
        ),
      );
    }
    return made;
  }
}

const px = (box) => Object.fromEntries(Object.entries(box).map(([side, value]) => [side, `${value}px`]));
