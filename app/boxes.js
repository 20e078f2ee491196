// People and things that were followed, over the picture, and how many there were at once. Knows times and shares of the picture.
import { api } from "./api.js";
import { el } from "./dom.js";

const VEHICLES = new Set(["bicycle", "car", "motorcycle", "bus", "truck", "train"]);
const NEAR = 0.6; // seconds beyond its first and last sighting for which a box is still drawn
const STEPS = 600; // of the curve of counts

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

export class Boxes {
  /** player: the player over whose picture they are drawn. ontracks(counts): others are here. */
  constructor(player, ontracks) {
    Object.assign(this, { player, ontracks, id: null, tracks: [] });
    this.on = localStorage.getItem("vlad boxes") !== "false";
    player.over.classList.add("boxes");
    const turn = () => {
      this.draw();
      if (!player.video.paused) requestAnimationFrame(turn);
    };
    for (const kind of ["play", "seeked", "timeupdate", "loadeddata"]) player.video.addEventListener(kind, turn);
    new ResizeObserver(() => this.draw()).observe(player.over);
  }

  async load(id, duration) {
    Object.assign(this, { id, tracks: [] });
    this.draw();
    const found = id ? await api(`/videos/${id}/tracks`).catch(() => []) : [];
    if (this.id !== id) return;
    this.tracks = found;
    this.ontracks(found.length ? counts(found, duration) : null);
    this.draw();
  }

  toggle() {
    this.on = !this.on;
    localStorage.setItem("vlad boxes", String(this.on));
    this.draw();
    return this.on;
  }

  /** The picture's own place within the stage, in pixels: it is fitted, with bars beside or above it. */
  picture() {
    const { clientWidth: wide, clientHeight: tall } = this.player.over,
      { videoWidth: w, videoHeight: h } = this.player.video,
      scale = Math.min(wide / (w || wide), tall / (h || tall));
    const [width, height] = [(w || wide) * scale, (h || tall) * scale];
    return { left: (wide - width) / 2, top: (tall - height) / 2, width, height };
  }

  draw() {
    const { over, time } = this.player,
      at = this.picture(),
      made = [];
    if (this.on)
      for (const track of this.tracks) {
        const box = boxAt(track, time);
        if (!box) continue;
        const [x, y, w, h] = box;
        made.push(
          el(
            "span",
            {
              class: `box ${track.label === "person" ? "person" : "thing"}`,
              style: {
                left: `${at.left + x * at.width}px`,
                top: `${at.top + y * at.height}px`,
                width: `${w * at.width}px`,
                height: `${h * at.height}px`,
              },
            },
            el("span", {}, track.label),
          ),
        );
      }
    over.replaceChildren(...made);
  }
}
