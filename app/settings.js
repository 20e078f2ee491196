// Settings and health: what runs here, thresholds by what they gave so far, retention, people, tokens, the log.
import { api, bytes, choice, el, fill, labelled, me, room, say, tried, when } from "./common.js";

export async function start(root) {
  const user = await me(),
    admin = user.scopes.includes("admin");
  const health = el("dl", { class: "fields" }),
    thresholds = el("tbody", {}),
    about = el("p", { class: "small" });
  const enter = el("input", {
    type: "number",
    min: "0",
    max: "1",
    step: "0.01",
    placeholder: "the scorer's own",
    disabled: !admin,
  });
  const days = el("input", {
    type: "number",
    min: "1",
    max: "3660",
    step: "1",
    placeholder: "never",
    disabled: !admin,
  });
  const quota = el("input", { type: "number", min: "0.001", step: "any", placeholder: "the disk's", disabled: !admin });
  const people = el("div", {}),
    log = el("div", {});
  /** A form for one option; empty: its default. sure(value): what to ask before a value is kept. */
  const option = (words, name, input, sure) =>
    el(
      "form",
      {
        class: "row tight",
        onsubmit: (event) => {
          event.preventDefault();
          const value = input.value === "" ? null : Number(input.value);
          if (value === null || !sure || confirm(sure(value))) put({ [name]: value });
        },
      },
      labelled(words, input),
      admin ? el("button", {}, "Keep") : null,
    );
  fill(
    root,
    el(
      "div",
      { class: "vlad settings" },
      el("section", {}, el("h2", {}, "Health"), health),
      el(
        "section",
        {},
        el("h2", {}, "Threshold"),
        about,
        el(
          "table",
          {},
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              ["Threshold", "Confirmed", "Dismissed", "False alarms an hour"].map((h) => el("th", { scope: "col" }, h)),
            ),
          ),
          thresholds,
        ),
        option("Threshold of new analyses", "enter", enter),
      ),
      el(
        "section",
        {},
        el("h2", {}, "Storage"),
        el(
          "p",
          { class: "small" },
          "Clips older than this are removed every hour, but for those of which something was exported. What was decided stays in the log.",
        ),
        option("Days", "retention_days", days, (value) => `Remove every clip older than ${value} days, from now on?`),
        option("GiB of clips at most", "quota_gib", quota),
      ),
      admin ? el("section", {}, el("h2", {}, "People and programs"), people) : null,
      admin ? el("section", {}, el("h2", {}, "Log"), log) : null,
    ),
  );

  const put = (body) =>
    tried(async () => {
      await api("/options", { method: "PUT", body });
      say("Kept.");
      await load();
    });

  async function load() {
    const [now, table] = await Promise.all([api("/health"), api("/thresholds")]);
    const jobs =
      Object.entries(now.jobs)
        .map(([name, n]) => `${n} ${name}`)
        .join(", ") || "none";
    fill(
      health,
      [
        ["Preset", now.preset],
        ["Device", now.device],
        ["Encoder", now.encoder],
        ["Scorer", now.scorer],
        ["Language model", now.explainer],
        ["Jobs", jobs],
        ["Clips", `${now.clips}, ${bytes(now.bytes)}`],
        ["Disk", `${bytes(now.free)} free, ${bytes(now.kept_free)} of them are never used`],
        [
          "Versions",
          Object.entries(now.versions)
            .map(([k, v]) => `${k} ${v}`)
            .join(", "),
        ],
      ].flatMap(([k, v]) => [el("dt", {}, k), el("dd", {}, v)]),
    );
    enter.value = now.options.enter ?? "";
    days.value = now.options.retention_days ?? "";
    quota.value = now.options.quota_gib ?? "";
    about.textContent = table.segments
      ? `From ${table.segments} decided segments of clips of ${table.hours.toFixed(2)} hours in which everything was decided. Below the threshold that a clip was analysed with nothing was flagged, so nothing is known there.`
      : "Once every segment of a clip is decided, this table says what each threshold would have given.";
    fill(
      thresholds,
      table.segments
        ? table.thresholds
            .filter((r) => r.confirmed || r.dismissed)
            .map((r) =>
              el(
                "tr",
                {},
                el("td", {}, r.threshold.toFixed(2)),
                el("td", {}, r.confirmed),
                el("td", {}, r.dismissed),
                el("td", {}, r.false_alarms_per_hour.toFixed(1)),
              ),
            )
        : [],
    );
    if (admin) await Promise.all([loadPeople(), loadLog(0)]);
  }

  async function loadPeople() {
    const users = await api("/users");
    const name = el("input", { required: true, maxLength: 200, autocomplete: "off" }),
      password = el("input", {
        type: "password",
        required: true,
        minLength: 10,
        maxLength: 500,
        autocomplete: "new-password",
      }),
      role = choice([
        ["reviewer", "reviewer"],
        ["admin", "admin"],
      ]);
    const token = el("input", { required: true, maxLength: 200, placeholder: "archive script" }),
      scope = choice([
        ["read", "read"],
        ["read write", "read and write"],
        ["admin read write", "everything"],
      ]),
      secret = el("output", { class: "code" });
    fill(
      people,
      user.local
        ? el(
            "p",
            { class: "small" },
            "Nobody signs in on this machine. With the first user everybody must, after a restart.",
          )
        : null,
      el(
        "ul",
        {},
        users.map((u) =>
          el(
            "li",
            {},
            `${u.name}, ${u.role} `,
            u.name === user.name
              ? null
              : el(
                  "button",
                  {
                    type: "button",
                    "aria-label": `Close ${u.name}`,
                    onclick: () => {
                      if (confirm(`${u.name} may no longer sign in?`))
                        tried(async () => {
                          await api("/users?" + new URLSearchParams({ name: u.name }), { method: "DELETE" });
                          await loadPeople();
                        });
                    },
                  },
                  "Close",
                ),
          ),
        ),
      ),
      el(
        "form",
        {
          class: "row tight",
          onsubmit: (event) => {
            event.preventDefault();
            tried(async () => {
              await api("/users", {
                method: "POST",
                body: { name: name.value, password: password.value, role: role.value },
              });
              say(`${name.value} may sign in.`);
              await loadPeople();
            });
          },
        },
        labelled("Name", name),
        labelled("Password, 10 letters or more", password),
        labelled("Role", role),
        el("button", {}, "Add user"),
      ),
      el(
        "form",
        {
          class: "row tight",
          onsubmit: (event) => {
            event.preventDefault();
            tried(async () => {
              const made = await api("/tokens", {
                method: "POST",
                body: { name: token.value, scopes: scope.value.split(" ") },
              });
              secret.textContent = `${made.token} (shown once, for 30 days)`;
            });
          },
        },
        labelled("Token for", token),
        labelled("It may", scope),
        el("button", {}, "Make token"),
        secret,
      ),
    );
  }

  async function loadLog(first) {
    const found = await api(`/audit?first=${first}&count=50`);
    fill(
      log,
      el(
        "p",
        { role: "status" },
        found.broken === null
          ? `${found.rows} rows, one chain.`
          : `Row ${found.broken} was changed: the chain is broken.`,
      ),
      el("p", { class: "small code" }, found.digest),
      el(
        "table",
        {},
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            ["", "When", "Who", "What", "Of"].map((h) => el("th", { scope: "col" }, h)),
          ),
        ),
        el(
          "tbody",
          {},
          found.log.map((r) =>
            el(
              "tr",
              {},
              el("td", {}, r.number),
              el("td", {}, when(r.at)),
              el("td", {}, r.user),
              el("td", {}, r.action),
              el("td", { class: "code" }, r.target.slice(0, 12)),
            ),
          ),
        ),
      ),
      el(
        "p",
        { class: "row tight" },
        el(
          "button",
          { type: "button", disabled: first === 0, onclick: () => tried(() => loadLog(Math.max(0, first - 50))) },
          "Newer",
        ),
        el(
          "button",
          { type: "button", disabled: first + 50 >= found.rows, onclick: () => tried(() => loadLog(first + 50)) },
          "Older",
        ),
      ),
    );
  }

  room(root, "settings", () => tried(load, root));
}
