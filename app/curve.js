// How a timeline is drawn on its canvas: ticks, gaps, spans, scores, threshold, marks and the place. Knows no events and no server.
import { SHAPES } from "./dom.js";
import { clock, plural, wall } from "./times.js";

export const STRIP = 20,
  FOOT = 18;
const STEPS = [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400];
const COLOURS = {
  light: {
    line: "#0072B2",
    open: "#D55E00",
    confirmed: "#9A3E00",
    dismissed: "#6b6b6b",
    text: "#333",
    grid: "#d9dce1",
    gap: "#b9bec6",
    now: "#000",
    mark: "#6a3d9a",
    path: "#00785a",
  },
  dark: {
    line: "#56B4E9",
    open: "#FF8A3D",
    confirmed: "#FF9A4D",
    dismissed: "#a0a0a0",
    text: "#ccc",
    grid: "#333a42",
    gap: "#59616b",
    now: "#fff",
    mark: "#cab2f0",
    path: "#5fd0b0",
  },
};

/** Maxima of neighbours, again and again: what is drawn stays a few thousand points, so a day zooms as smoothly as a minute. */
export function pyramid(scores) {
  const levels = [scores];
  while (levels.at(-1).length > 512) {
    const below = levels.at(-1),
      level = new Float32Array(Math.ceil(below.length / 2));
    for (let i = 0; i < level.length; i++) level[i] = Math.max(below[2 * i], below[2 * i + 1] ?? 0);
    levels.push(level);
  }
  return levels;
}

/** The last edge at or before a time (s). edges rise. */
export function indexAt(edges, time) {
  let low = 0,
    high = edges.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (edges[middle] <= time) low = middle;
    else high = middle - 1;
  }
  return Math.max(0, low);
}

/** Everything of timeline `t` on its canvas. */
export function draw(t) {
  const { canvas } = t,
    box = canvas.getBoundingClientRect(),
    scale = devicePixelRatio || 1;
  if (!box.width) return;
  Object.assign(t, { width: box.width, height: box.height });
  const [wide, tall] = [Math.round(box.width * scale), Math.round(box.height * scale)];
  if (canvas.width !== wide || canvas.height !== tall) Object.assign(canvas, { width: wide, height: tall });
  const pen = canvas.getContext("2d"),
    colours = COLOURS[matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"];
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, t.width, t.height);
  pen.font = "11px system-ui, sans-serif";
  ticks(t, pen, colours);
  spans(t, pen, colours);
  counts(t, pen, colours);
  curve(t, pen, colours);
  bars(
    t,
    pen,
    colours.mark,
    t.held.map(({ rule, start, end }) => [rule, start, end]),
    t.height - FOOT - 5,
  );
  bars(
    t,
    pen,
    colours.path,
    t.departures.map(({ why, start, end }) => [why, start, end]),
    t.height - FOOT - 24,
  );
  marks(t, pen, colours);
  lines(t, pen, colours);
}

function ticks(t, pen, colours) {
  const [a, b] = t.view,
    tall = t.height - STRIP - FOOT,
    room = t.starts ? 74 : 64,
    step = STEPS.find((s) => ((b - a) / s) * room < t.width) ?? 28800;
  for (const [start, end] of t.gaps) {
    pen.fillStyle = colours.gap;
    pen.globalAlpha = 0.45;
    pen.fillRect(t.x(start), STRIP, Math.max(2, t.x(end) - t.x(start)), tall);
    pen.globalAlpha = 1;
  }
  for (let at = Math.ceil(a / step) * step; at <= b; at += step) {
    pen.fillStyle = colours.grid;
    pen.fillRect(t.x(at), STRIP, 1, tall);
    pen.fillStyle = colours.text;
    const words = (step >= 1 && t.starts && wall(t.starts, at)?.time) || clock(at, step < 1 ? 1 : 0),
      wide = pen.measureText(words).width;
    pen.fillText(words, Math.min(Math.max(0, t.x(at) - wide / 2), t.width - wide), t.height - 4);
  }
}

function spans(t, pen, colours) {
  const tall = t.height - STRIP - FOOT;
  let free = -1;
  for (const s of t.segments) {
    if (s.end < t.view[0] || s.start > t.view[1]) continue;
    const left = t.x(s.start),
      wide = Math.max(2, t.x(s.end) - left),
      faint = s.peak < t.threshold && s.origin !== "person";
    pen.globalAlpha = faint ? 0.08 : s.id === t.chosen ? 0.5 : 0.22;
    pen.fillStyle = s.origin === "person" ? colours.mark : colours[s.status];
    pen.fillRect(left, STRIP, wide, tall);
    pen.globalAlpha = faint ? 0.3 : 1;
    pen.fillRect(left, STRIP - 4, wide, 3);
    const middle = left + wide / 2;
    if (middle > free) {
      pen.textAlign = "center";
      pen.fillText(SHAPES[s.status], middle, STRIP - 7);
      pen.textAlign = "left";
      free = middle + 11;
    }
    if (s.id === t.chosen) frame(t, pen, colours, left, wide);
  }
  pen.globalAlpha = 1;
}

/** The chosen span with a handle at either end. */
function frame(t, pen, colours, left, wide) {
  const tall = t.height - STRIP - FOOT;
  pen.globalAlpha = 1;
  pen.strokeStyle = colours.now;
  pen.lineWidth = 1.5;
  pen.strokeRect(left, STRIP, wide, tall);
  pen.fillStyle = colours.now;
  for (const at of [left, left + wide]) pen.fillRect(at - 2.5, STRIP + tall / 2 - 11, 5, 22);
}

/** How many people (line) and vehicles (dashes) were in sight at once, low in the picture: the highest count fills a quarter of it. */
function counts(t, pen, colours) {
  if (!t.counts) return;
  const { people, vehicles } = t.counts,
    top = Math.max(...people, ...vehicles),
    floor = t.height - FOOT,
    tall = (floor - STRIP) / 4;
  if (!top) return;
  pen.strokeStyle = colours.text;
  pen.globalAlpha = 0.7;
  pen.lineWidth = 1;
  for (const [many, dash] of [
    [people, []],
    [vehicles, [3, 3]],
  ]) {
    pen.setLineDash(dash);
    pen.beginPath();
    many.forEach((n, i) => {
      const y = floor - (n / top) * tall;
      pen.lineTo(t.x((i / many.length) * t.duration), y);
      pen.lineTo(t.x(((i + 1) / many.length) * t.duration), y);
    });
    pen.stroke();
  }
  pen.setLineDash([]);
  pen.fillStyle = colours.text;
  pen.globalAlpha = 1;
  const told = [plural(Math.max(...people), "person", "people"), plural(Math.max(...vehicles), "vehicle")];
  pen.fillText(`at most ${told.filter((words) => !words.startsWith("0 ")).join(", ")} at once`, 6, STRIP + 13);
}

function curve(t, pen, colours) {
  const first = indexAt(t.edges, t.view[0]),
    last = indexAt(t.edges, t.view[1]);
  let level = 0;
  while (level + 1 < t.levels.length && (last - first) >> level > 2 * t.width) level++;
  const values = t.levels[level];
  pen.beginPath();
  for (let i = first >> level; i <= last >> level && i < values.length; i++) {
    const y = t.y(values[i]);
    pen.lineTo(t.x(t.edges[i << level]), y);
    pen.lineTo(t.x(t.edges[Math.min((i + 1) << level, t.edges.length - 1)]), y);
  }
  pen.strokeStyle = colours.line;
  pen.lineWidth = 1.5;
  pen.stroke();
}

/** A row of spans [name, start, end]: where rules of the camera held, or who departs from usual paths; a bar each, with its name where there is room. */
function bars(t, pen, colour, rows, y) {
  let free = -1;
  pen.fillStyle = colour;
  for (const [words, start, end] of rows) {
    if (end < t.view[0] || start > t.view[1]) continue;
    const left = Math.max(0, t.x(start));
    pen.fillRect(left, y, Math.max(3, t.x(end) - left), 5);
    if (left < free) continue;
    const name = words.slice(0, 30);
    pen.fillText(name, left, y - 3);
    free = left + pen.measureText(name).width + 8;
  }
}

/** What I and O marked. */
function marks(t, pen, colours) {
  const [from, until] = t.marked;
  if (from === null && until === null) return;
  const tall = t.height - STRIP - FOOT;
  pen.fillStyle = colours.mark;
  if (from !== null && until !== null) {
    pen.globalAlpha = 0.25;
    pen.fillRect(t.x(from), STRIP, t.x(until) - t.x(from), tall);
    pen.globalAlpha = 1;
  }
  for (const [at, sign] of [
    [from, "I"],
    [until, "O"],
  ]) {
    if (at === null) continue;
    pen.fillRect(t.x(at) - 1, STRIP - 4, 2, tall + 4);
    pen.fillText(sign, t.x(at) + (sign === "I" ? 4 : -9), STRIP + 10);
  }
}

function lines(t, pen, colours) {
  const y = t.y(t.threshold);
  pen.setLineDash([6, 4]);
  pen.strokeStyle = colours.open;
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(0, y);
  pen.lineTo(t.width, y);
  pen.stroke();
  pen.setLineDash([]);
  pen.fillStyle = "#b34700";
  pen.fillRect(t.width - 36, y - 7, 36, 14);
  pen.fillStyle = "#fff";
  pen.fillText(t.threshold.toFixed(2), t.width - 31, y + 4);
  pen.fillStyle = colours.now;
  pen.fillRect(t.x(t.now) - 1, STRIP - 4, 2, t.height - STRIP - FOOT + 4);
}
