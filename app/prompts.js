// Prompts: the templates in use; a copy to edit, checked as it is typed, looked at and tried on a segment beside the one in use, and saved.
import { Refused, api, me } from "./api.js";
import { choice, el, fill, labelled, options, say, tried } from "./dom.js";
import { drafts } from "./drafts.js";
import { called } from "./queue.js";
import { frames } from "./sprites.js";
import { clock, when } from "./times.js";

export async function start(root) {
  const admin = (await me()).scopes.includes("admin");
  let templates = [],
    chosen = null,
    findings = { usable: true, findings: [] };
  const list = el("ul", { class: "templates", "aria-label": "Templates" });
  const name = el("h2", {}),
    facts = el("p", { class: "small" }),
    broken = el("p", { class: "why", role: "alert" });
  const text = el("textarea", {
    rows: 24,
    spellcheck: false,
    readOnly: !admin,
    "aria-label": "Template",
    class: "code",
  });
  const faults = el("ol", { class: "faults", "aria-label": "Faults", "aria-live": "polite" });
  const versions = choice([["", "the one in use"]], {
    onchange: () => {
      const found = old.find((v) => v.hash === versions.value);
      text.value = found ? found.source : chosen.source;
      keep();
      check();
    },
  });
  const segment = choice([], {});
  const save = el(
    "button",
    { type: "button", class: "main", onclick: () => tried(store, root) },
    "Save as a new version",
  );
  const seen = el("div", { class: "sides" });
  let old = [],
    timer;
  fill(
    root,
    el(
      "div",
      { class: "vlad prompts" },
      el("nav", { "aria-label": "Templates" }, list),
      el(
        "div",
        {},
        name,
        facts,
        broken,
        el(
          "div",
          { class: "row tight" },
          labelled("Version", versions),
          el(
            "button",
            {
              type: "button",
              onclick: () => {
                text.value = chosen.source;
                versions.value = "";
                keep();
                check();
              },
            },
            "Undo all edits",
          ),
          save,
        ),
        text,
        faults,
        el(
          "div",
          { class: "row tight" },
          labelled("On the segment", segment),
          el("button", { type: "button", onclick: () => tried(look, seen) }, "Preview"),
          el("button", { type: "button", onclick: () => tried(both, seen) }, "Run both side by side"),
          el("button", { type: "button", onclick: () => tried(again, seen) }, "Explain again with the one in use"),
        ),
        seen,
        el(
          "p",
          { class: "small" },
          admin
            ? "A saved version counts at once for this server and its workers; analyses made before keep the name and hash of theirs. Whether a version is better, one segment cannot tell: vlad prompts compare does."
            : "Only admins edit templates, since they run on the server.",
        ),
      ),
    ),
  );
  text.addEventListener("input", () => {
    keep();
    clearTimeout(timer);
    timer = setTimeout(check, 250);
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "s" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!save.disabled) save.click();
    }
  });

  const edited = () => chosen && text.value !== chosen.source;

  /** An edit lives until it is saved or undone, and remembers what it began from: somebody else may save meanwhile. */
  function keep() {
    const id = `template ${chosen.name}`;
    drafts.set(id, "base", edited() ? drafts.get(id, "base") || chosen.hash : "");
    drafts.set(id, "text", edited() ? text.value : "");
  }

  async function check() {
    if (!chosen) return;
    const asked = text.value;
    if (!admin) {
      save.disabled = true;
      return;
    }
    const found = await tried(() => api(`/prompts/${chosen.name}/lint`, { method: "POST", body: { source: asked } }));
    if (!found || asked !== text.value) return;
    findings = found;
    fill(
      faults,
      found.findings.length
        ? found.findings.map((f) =>
            el(
              "li",
              { class: f.grave ? "grave" : "" },
              el("button", { type: "button", onclick: () => to(f.line) }, `line ${f.line}`),
              ` ${f.grave ? "must be mended: " : "careful: "}${f.text}`,
            ),
          )
        : el("li", { class: "fine" }, edited() ? "No faults." : "This is the version in use."),
    );
    save.disabled = !found.usable || !edited();
  }

  function to(line) {
    const lines = text.value.split("\n"),
      first = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    text.focus();
    text.setSelectionRange(first, first + (lines[line - 1] ?? "").length);
    text.scrollTop = (line - 4) * (text.scrollHeight / lines.length);
  }

  async function open(which) {
    chosen = which;
    text.value = drafts.get(`template ${which.name}`, "text") || which.source;
    fill(seen);
    for (const button of list.querySelectorAll("button"))
      button.setAttribute("aria-current", String(button.dataset.name === which.name));
    await describe();
    await check();
  }

  /** Name, version and history of the chosen template, beside whatever is being edited. */
  async function describe() {
    const which = chosen;
    name.textContent = which.name;
    facts.textContent = which.version
      ? `version ${which.version}, ${which.name}@${which.hash}. ${which.description}`
      : "cannot be used";
    broken.textContent = which.error
      ? `${which.error}${which.version ? "; the last good version stays in use" : ""}`
      : "";
    old = (await tried(() => api(`/prompts/${which.name}/history`))) ?? [];
    fill(
      versions,
      [["", "the one in use"], ...old.map((v) => [v.hash, `version ${v.version}, replaced ${when(v.saved)}`])].map(
        ([value, words]) => el("option", { value }, words),
      ),
    );
  }

  async function look() {
    const path = `/prompts/${chosen.name}/preview`;
    const found = edited()
      ? await api(path + "-draft", { method: "POST", body: { segment: need(), source: text.value } })
      : await api(path, { method: "POST", body: { segment: need() } });
    fill(
      seen,
      el(
        "article",
        {},
        el("h3", {}, `What the model gets (${found.prompt})`),
        found.times.length ? shown(found.video, found.times) : null,
        el("pre", { class: "wrap" }, found.text),
      ),
    );
  }

  function need() {
    if (!segment.value) throw new Refused(0, "Choose a segment first; analyse a clip to have one.");
    return segment.value;
  }

  async function both() {
    const mine = text.value,
      body = { segment: need(), source: mine };
    const cards = [
      ["In use", chosen.source],
      [edited() ? "Your edit" : "The same again", mine],
    ].map(([title, source]) => {
      const words = el("div", {}, "asking…");
      return { source, words, card: el("article", {}, el("h3", {}, title), words) };
    });
    fill(
      seen,
      cards.map((c) => c.card),
    );
    for (const { source, words } of cards) {
      const began = performance.now();
      try {
        const said = await api(`/prompts/${chosen.name}/try`, { method: "POST", body: { ...body, source } });
        fill(
          words,
          el("p", { class: "text" }, said.reading.text),
          el(
            "p",
            { class: "small" },
            [said.reading.chance, said.prompt, `${((performance.now() - began) / 1000).toFixed(1)} s`]
              .filter(Boolean)
              .join("; "),
          ),
          el(
            "dl",
            { class: "fields" },
            Object.entries(said.reading.fields).flatMap(([key, value]) => [el("dt", {}, key), el("dd", {}, value)]),
          ),
          said.notes.length ? el("p", { class: "small" }, said.notes.join("; ")) : null,
          el("details", {}, el("summary", {}, "its own words"), el("pre", { class: "wrap" }, said.raw)),
        );
      } catch (error) {
        fill(words, el("p", { class: "why" }, error.message));
      }
    }
  }

  async function again() {
    const found = await api(`/segments/${need()}/explain`, { method: "POST", body: { prompt: chosen.name } });
    fill(
      seen,
      el(
        "article",
        {},
        el("h3", {}, `Kept: ${found.explanation.prompt}`),
        el("p", { class: "text" }, found.reading.text),
        el("p", {}, el("a", { href: `#review?segment=${found.id}` }, "Review it")),
      ),
    );
  }

  const shown = (video, times) =>
    el(
      "div",
      { class: "frames" },
      frames(video, times).map((picture, i) => el("figure", {}, picture, el("figcaption", {}, clock(times[i])))),
    );

  async function store() {
    const id = `template ${chosen.name}`,
      body = { source: text.value, base: drafts.get(id, "base") || chosen.hash };
    const kept = await api(`/prompts/${chosen.name}`, { method: "PUT", body }).catch(async (error) => {
      if (error.status === 409) {
        // somebody saved meanwhile: who saves again now knows it
        chosen = (await api("/prompts")).find((t) => t.name === chosen.name) ?? chosen;
        drafts.set(id, "base", chosen.hash);
        await describe();
        const now = el("pre", { class: "wrap" }, chosen.source);
        fill(seen, el("article", {}, el("h3", {}, `In use now: version ${chosen.version}`), now));
      }
      throw error;
    });
    say(`${kept.name} version ${kept.version} is in use.`);
    text.value = chosen.source; // no longer an edit: it is what comes next
    keep();
    await load(kept.name);
  }

  async function load(which) {
    templates = await api("/prompts");
    fill(
      list,
      templates.map((t) =>
        el(
          "li",
          {},
          el(
            "button",
            { type: "button", "data-name": t.name, onclick: () => open(templates.find((x) => x.name === t.name)) },
            t.name,
            el("span", { class: "small" }, t.version ? ` version ${t.version}` : " broken"),
            t.error ? el("span", { class: "why" }, " ✕ broken edit") : null,
          ),
        ),
      ),
    );
    const found = templates.find((t) => t.name === which) ?? templates[0];
    if (found) await open(found);
  }

  async function arrive(params) {
    await tried(async () => {
      const page = await api("/segments?count=100");
      options(
        segment,
        page.segments.map((s) => [s.id, `${s.name} ${clock(s.start)}–${clock(s.end)} ${called(s)}`]),
      );
      if (params.segment && page.segments.some((s) => s.id === params.segment)) segment.value = params.segment;
      if (!chosen || params.name) await load(params.name ?? "explain");
      else if (!edited()) await load(chosen.name);
    }, root);
  }
  return { arrive };
}
