// Zones and lines over a picture, and the text that a camera's rules are kept as. Points are shares of the picture, from the left and the top. Knows no server.

const SPACE = "http://www.w3.org/2000/svg";
const ARROW = 0.045; // of the picture's width, of the arrow that says which way is in
const DIGITS = 4;

/** An element of a drawing. */
export function svg(tag, props = {}, ...children) {
  const made = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(props)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A drawing over a picture of a width and height: zones as areas, lines with an arrow to the side that is in. shapes: [{kind, name, points}]. */
export function drawing(shapes, [wide, tall], chosen = null) {
  const at = ([x, y]) => [x * wide, y * tall];
  return svg(
    "svg",
    { viewBox: `0 0 ${wide} ${tall}`, preserveAspectRatio: "none", class: "shapes", "aria-hidden": "true" },
    ...shapes
      .map((shape) => {
        const points = shape.points.map(at),
          kind = `${shape.kind}${shape === chosen ? " chosen" : ""}`;
        if (shape.kind === "zone") {
          const tag = points.length > 2 ? "polygon" : "polyline";
          return [svg(tag, { points: points.map((p) => p.join()).join(" "), class: kind })];
        }
        return [
          svg("polyline", { points: points.map((p) => p.join()).join(" "), class: kind }),
          ...(points.length === 2 ? [inwards(points, wide * ARROW, kind)] : []),
        ];
      })
      .flat(),
  );
}

/** From the middle of a line to its right, as somebody has it who goes along it: that way is in. */
function inwards([[ax, ay], [bx, by]], length, kind) {
  const long = Math.hypot(bx - ax, by - ay) || 1,
    [x, y] = [(ax + bx) / 2, (ay + by) / 2],
    [ex, ey] = [(-(by - ay) / long) * length, ((bx - ax) / long) * length];
  const tip = [x + ex, y + ey],
    side = (way) => [tip[0] - ex * 0.4 + way * ey * 0.3, tip[1] - ey * 0.4 - way * ex * 0.3];
  return svg("path", { d: `M${x},${y}L${tip}M${side(1)}L${tip}L${side(-1)}`, class: `${kind} arrow` });
}

/** Where the name of a shape stands: in the middle of a zone, over the first end of a line. */
export function label({ kind, points }) {
  if (kind === "line") return [points[0][0], Math.max(0.05, points[0][1])];
  return [0, 1].map((i) => points.reduce((sum, p) => sum + p[i], 0) / points.length);
}

const number = (v) => String(Number(v.toFixed(DIGITS)));
const list = (points) => `[${points.map((p) => `[${p.map(number).join(", ")}]`).join(", ")}]`;

/** The text of vlad.rules. Names and sentences are quoted as JSON does it, which YAML reads. */
export function written({ shapes, rules, place, background }) {
  const part = (kind) =>
    shapes.filter((s) => s.kind === kind).map((s) => `  ${JSON.stringify(s.name)}: ${list(s.points)}\n`);
  const [zones, lines] = [part("zone"), part("line")];
  const rows = rules.map(
    (r) =>
      `  ${JSON.stringify(r.name)}: {when: ${JSON.stringify(r.when)}${r.effect && r.score !== "" ? `, ${r.effect}: ${Number(r.score)}` : ""}}\n`,
  );
  return [
    zones.length ? `zones:\n${zones.join("")}` : "",
    lines.length ? `lines:\n${lines.join("")}` : "",
    rows.length ? `rules:\n${rows.join("")}` : "rules: {}\n",
    place?.points.length ? `place: ${grounded(place)}\n` : "",
    background ? `background: ${background}\n` : "",
  ].join("");
}

/** A place as JSON, which YAML reads. */
function grounded({ points, origin, bearing, plan }) {
  const pairs = points.map((pair) => `[${pair.map((p) => `[${p.map(number).join(", ")}]`).join(", ")}]`);
  return [
    `{points: [${pairs.join(", ")}]`,
    origin ? `, origin: ${JSON.stringify(origin)}` : "",
    bearing ? `, bearing: ${bearing}` : "",
    plan
      ? `, plan: {picture: ${JSON.stringify(plan.picture)}, width: ${number(plan.width)}, height: ${number(plan.height)}}`
      : "",
    "}",
  ].join("");
}

/** What the server read out of such a text, as the page edits it. */
export function taken({ zones, lines, rules, place, background }) {
  const part = (kind, found) => Object.entries(found).map(([name, points]) => ({ kind, name, points }));
  return {
    shapes: [...part("zone", zones), ...part("line", lines)],
    rules: Object.entries(rules).map(([name, { when, raises, lowers }]) => ({
      name,
      when,
      effect: raises !== undefined ? "raises" : lowers !== undefined ? "lowers" : "",
      score: String(raises ?? lowers ?? ""),
    })),
    place: place && structuredClone(place),
    background: background ?? "",
  };
}
