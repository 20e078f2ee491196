// People and programs: who may sign in, one's own password and sessions, tokens with what they may do and when they were last used.
import { api, post, put, remove } from "./api.js";
import { button, check, choice, el, fill, labelled, say, sends, sure, tried } from "./dom.js";
import { ago, when } from "./times.js";

const SCOPES = [
  ["read", "read"],
  ["read write", "read and write"],
  ["admin read write", "everything"],
];

export class People {
  constructor(user, admin) {
    Object.assign(this, { user, admin });
    this.users = el("div", {});
    this.sessions = el("div", {});
    this.tokens = el("tbody", {});
    this.secret = el("output", { class: "code" });
    this.element = el(
      "section",
      {},
      user.local ? null : [el("h2", {}, "Your account"), this.password(), this.sessions],
      admin
        ? [
            el("h2", {}, "People"),
            this.users,
            this.addUser(),
            el("h2", {}, "Tokens for programs"),
            this.tokenTable(),
            this.addToken(),
          ]
        : null,
    );
  }

  async load() {
    await Promise.all([
      this.user.local ? null : this.loadSessions(),
      this.admin ? this.loadUsers() : null,
      this.admin ? this.loadTokens() : null,
    ]);
  }

  /** A form; work() sends it, `told` is the field beside which the server's line stands when it refuses. */
  form(words, fields, told, work) {
    return el(
      "form",
      {
        class: "row tight",
        onsubmit: sends(told, work),
      },
      fields,
      el("button", {}, words),
    );
  }

  password() {
    const secret = (autocomplete) => el("input", { type: "password", required: true, maxLength: 500, autocomplete });
    const old = secret("current-password"),
      fresh = Object.assign(secret("new-password"), { minLength: 10 });
    return this.form(
      "Change password",
      [labelled("Old password", old), labelled("New password, 10 letters or more", fresh)],
      old,
      async (form) => {
        await put("/me/password", { old: old.value, new: fresh.value });
        form.reset();
        say("Your password is changed; other sessions have ended.");
        await this.loadSessions();
      },
    );
  }

  async loadSessions() {
    const found = await api("/me/sessions");
    fill(
      this.sessions,
      el(
        "p",
        { class: "small" },
        `You are signed in ${found.length === 1 ? "here only" : `in ${found.length} places`}:`,
      ),
      el(
        "ul",
        { "aria-label": "Where you are signed in" },
        found.map((s) =>
          el(
            "li",
            {},
            s.name ? `${s.name}, ` : "",
            `since ${when(s.created)}${s.used ? `, last seen ${ago(s.used)}` : ""} `,
            s.current
              ? el("span", { class: "small" }, "here")
              : button(
                  `End the session since ${when(s.created)}`,
                  () =>
                    tried(async () => {
                      await remove(`/tokens/${s.id}`);
                      await this.loadSessions();
                    }),
                  { picture: "ban", words: false },
                ),
          ),
        ),
      ),
    );
  }

  async loadUsers() {
    const users = await api("/users");
    fill(
      this.users,
      this.user.local
        ? el(
            "p",
            { class: "small" },
            "Nobody signs in on this machine. From the first user on everybody must, at once.",
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
            this.right(u, "originals", "originals", "/users/originals", "may see originals"),
            this.right(u, "seeks", "find again", "/users/again", "may look for outfits again"),
            u.name === this.user.name
              ? el("span", { class: "small" }, "you")
              : button(
                  `End the access of ${u.name}`,
                  async () => {
                    if (await sure(`${u.name} may no longer sign in?`, "End access"))
                      tried(async () => {
                        await remove("/users?" + new URLSearchParams({ name: u.name }));
                        await this.loadUsers();
                      });
                  },
                  { picture: "ban", words: false },
                ),
          ),
        ),
      ),
    );
  }

  /** A right that is given by ticking. */
  right(user, name, words, path, told) {
    const box = el("input", {
      type: "checkbox",
      checked: user[name],
      "aria-label": `${user.name} ${told}`,
      onchange: () =>
        tried(async () => {
          const on = box.checked;
          try {
            await put(path, { name: user.name, on });
            say(on ? `${user.name} ${told}, with a reason each time.` : `${user.name} no longer ${told}.`);
          } finally {
            await this.loadUsers();
          }
        }),
    });
    return [check(words, box), " "];
  }

  addUser() {
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
    return this.form(
      "Add user",
      [labelled("Name", name), labelled("Password, 10 letters or more", password), labelled("Role", role)],
      name,
      async (form) => {
        await post("/users", { name: name.value, password: password.value, role: role.value });
        say(`${name.value} may sign in.`);
        form.reset();
        await this.loadUsers();
      },
    );
  }

  tokenTable() {
    return el(
      "table",
      { class: "cards" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ["Token", "It may", "Whose", "Made", "Last used", "Until"].map((h) => el("th", { scope: "col" }, h)),
          el("td", {}),
        ),
      ),
      this.tokens,
    );
  }

  async loadTokens() {
    const found = await api("/tokens");
    fill(
      this.tokens,
      found.map((t) =>
        el(
          "tr",
          {},
          [
            ["Token", t.name],
            ["It may", t.scopes.join(", ")],
            ["Whose", t.user],
            ["Made", when(t.created)],
            ["Last used", t.used ? ago(t.used) : "never"],
            ["Until", when(t.expires)],
          ].map(([k, v]) => el("td", { "data-label": k }, v)),
          el(
            "td",
            {},
            button(
              `Revoke ${t.name}`,
              async () => {
                if (await sure(`Revoke the token ${t.name}? Programs that use it stop at once.`, "Revoke"))
                  tried(async () => {
                    await remove(`/tokens/${t.id}`);
                    await this.loadTokens();
                  });
              },
              { picture: "ban", words: false },
            ),
          ),
        ),
      ),
    );
  }

  addToken() {
    const name = el("input", { required: true, maxLength: 200, placeholder: "archive script" }),
      scope = choice(SCOPES),
      days = el("input", { type: "number", min: "1", max: "3660", value: "30", required: true });
    return el(
      "div",
      {},
      this.form(
        "Make token",
        [labelled("Token for", name), labelled("It may", scope), labelled("Days", days)],
        name,
        async () => {
          const made = await post("/tokens", {
            name: name.value,
            scopes: scope.value.split(" "),
            days: Number(days.value),
          });
          this.secret.textContent = `${made.token} (shown once)`;
          await this.loadTokens();
        },
      ),
      this.secret,
    );
  }
}
