// Where alarms are told: webhooks, MQTT, e-mail; how messages fared. And this very browser, by web push.
import { api, patch, post, put, remove } from "./api.js";
import { button, choice, el, fault, fill, labelled, say, sure, tried } from "./dom.js";
import { ago, when } from "./times.js";

const KINDS = {
  webhook: { words: "webhook", place: "https://example.org/hook", secret: "Key it is signed with, 16 letters or more" },
  mqtt: { words: "MQTT", place: "mqtts://broker.example.org", secret: "user:password" },
  mail: { words: "e-mail", place: "smtps://mail.example.org", secret: "user:password" },
};
const PLAIN = "smtp://mail.local"; // where it is to be read by anybody on its way

/** Why messages wait, and when the next is tried. */
function waits({ on, waiting, error, next }) {
  if (!waiting) return "";
  const tries = !on ? "" : next > Date.now() / 1000 ? `next try at ${when(next).slice(11, 19)}` : "tried now";
  return `, ${waiting} waiting${error ? `: ${error}` : ""}${tries ? `; ${tries}` : ""}`;
}

const list = (text) =>
  text
    .split(/[\s,]+/)
    .map((one) => one.trim())
    .filter(Boolean);

export class Targets {
  constructor(admin) {
    this.admin = admin;
    this.rows = el("ul", { class: "targets", "aria-label": "Where alarms are told" });
    this.browser = button("Tell this browser of alarms", () => tried(() => this.subscribe()), { picture: "siren" });
    this.element = el(
      "section",
      {},
      el("h2", {}, "Where alarms are told"),
      el(
        "p",
        { class: "small" },
        "This browser hears of alarms of cameras that you see, also while this page is closed; what is told passes through the maker of the browser, encrypted.",
      ),
      el("div", { class: "row tight" }, this.browser),
      admin ? [this.rows, this.form()] : null,
    );
  }

  async load() {
    this.browser.disabled = !("serviceWorker" in navigator && "PushManager" in window);
    if (this.browser.disabled) this.browser.title = "This browser, or an address without https, does not allow it.";
    else tried(() => this.described());
    if (this.admin) await this.list();
  }

  async list() {
    const found = await api("/targets");
    fill(
      this.rows,
      found.map((t) => {
        const fared = el("span", { class: "small", role: "status" });
        return el(
          "li",
          {},
          el("strong", {}, t.name),
          ` ${KINDS[t.kind]?.words ?? t.kind}, ${t.address}${t.on ? "" : ", off"}${waits(t)} `,
          button(`Send a test to ${t.name}`, () => tried(() => this.test(t, fared)), { picture: "play", words: false }),
          button(`${t.on ? "Switch off" : "Switch on"} ${t.name}`, () => tried(() => this.change(t)), {
            picture: t.on ? "pause" : "check",
            words: false,
          }),
          button(`Remove ${t.name}`, () => tried(() => this.drop(t)), { picture: "trash-2", words: false }),
          " ",
          fared,
        );
      }),
    );
    if (!found.length) fill(this.rows, el("li", { class: "small" }, "Nowhere but on this page."));
  }

  async test(target, fared) {
    const { id } = await post(`/targets/${target.id}/test`);
    for (let turn = 0; turn < 20; turn++) {
      const one = (await api(`/targets/${target.id}/messages`)).find((m) => m.id === id);
      fared.textContent = !one
        ? "gone"
        : one.sent
          ? `sent ${ago(one.sent)}`
          : one.failed || (one.error ? `not yet: ${one.error}` : "on its way");
      if (!one || one.sent || one.failed || one.error) return;
      await new Promise((done) => setTimeout(done, 500));
    }
  }

  async change(target) {
    await patch(`/targets/${target.id}`, { on: !target.on });
    await this.list();
  }

  async drop(target) {
    if (!(await sure(`Tell ${target.name} of no more alarms? What waits for it is gone too.`, "Remove"))) return;
    await remove(`/targets/${target.id}`);
    await this.list();
  }

  form() {
    const text = (props) => el("input", { maxLength: 2000, autocomplete: "off", ...props });
    const kind = choice(Object.entries(KINDS).map(([value, { words }]) => [value, words])),
      name = text({ required: true, maxLength: 200 }),
      address = text({ required: true }),
      secret = text({ type: "password", maxLength: 1000, autocomplete: "new-password" }),
      allow = text({ placeholder: "192.168.1.0/24" }),
      sender = text({ type: "email", maxLength: 320 }),
      to = text({}),
      plain = choice([
        ["", "yes (TLS or STARTTLS)"],
        ["plain", "no, within the private networks named here"],
      ]),
      mail = el(
        "div",
        { class: "row tight" },
        labelled("From", sender),
        labelled("To, several with commas", to),
        labelled("Encrypted", plain),
      ),
      key = el("span", {}),
      fields = { name, address, secret, allow, sender, to },
      calm = () => Object.values(fields).forEach((one) => fault(one));
    const turned = () => {
      const mails = kind.value === "mail";
      address.placeholder = mails && plain.value ? PLAIN : KINDS[kind.value].place;
      key.textContent = KINDS[kind.value].secret;
      mail.hidden = !mails;
      sender.required = to.required = mails;
      calm();
    };
    /** The field that a line of the server's is about. */
    const about = ({ message, data }) => {
      const [, part, key] = data?.detail?.[0]?.loc ?? [];
      if (part) return fields[key] ?? fields[part] ?? address;
      if (/of that name$|a name of/.test(message)) return name;
      if (/mail needs/.test(message)) return to;
      if (/private networks|^allow/.test(message)) return allow;
      return /is signed|as user:password/.test(message) ? secret : address;
    };
    kind.addEventListener("change", () => {
      secret.value = ""; // a key is no password
      turned();
    });
    plain.addEventListener("change", turned);
    turned();
    const add = async (made) => {
      calm();
      const settings = { allow: list(allow.value) };
      if (kind.value === "mail")
        Object.assign(settings, { sender: sender.value.trim(), to: list(to.value), plain: Boolean(plain.value) });
      const told = { kind: kind.value, name: name.value, address: address.value.trim(), settings };
      try {
        await post("/targets", secret.value ? { ...told, secret: secret.value } : told);
      } catch (error) {
        const field = about(error);
        error.message = error.message.replace(/^(target:|allow) /, "");
        fault(field, error.message);
        field.focus();
        throw error;
      }
      made.reset();
      turned();
      say("Alarms are told there from now on. Send a test to see that it works.");
      await this.list();
    };
    return el(
      "form",
      {
        class: "row tight",
        onsubmit: (event) => {
          event.preventDefault();
          tried(() => add(event.target));
        },
      },
      labelled("Kind", kind),
      labelled("Name", name),
      labelled("Address", address),
      el("label", {}, key, secret),
      labelled("Private networks that it may be in", allow),
      mail,
      el("button", {}, "Add"),
    );
  }

  async registration() {
    return navigator.serviceWorker.register("/page/waker.js");
  }

  async described() {
    const now = await (await this.registration()).pushManager.getSubscription();
    this.subscribed = now;
    this.browser.lastElementChild.textContent = now ? "Tell this browser no more" : "Tell this browser of alarms";
    this.browser.setAttribute("aria-pressed", String(Boolean(now)));
  }

  async subscribe() {
    const { pushManager } = await this.registration();
    if (this.subscribed) {
      await api("/push", { method: "DELETE", body: { endpoint: this.subscribed.endpoint } });
      await this.subscribed.unsubscribe();
      say("This browser is told no more.");
    } else {
      const { key } = await api("/push");
      let made;
      try {
        made = await pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: key });
      } catch (error) {
        say(`The browser does not allow it (${error.message}).`, { wrong: true });
        return;
      }
      const { endpoint, keys } = made.toJSON();
      await put("/push", { endpoint, p256dh: keys.p256dh, auth: keys.auth });
      say("This browser is told of alarms.");
    }
    await this.described();
  }
}
