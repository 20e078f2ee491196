// Where alarms are told: webhooks, MQTT, e-mail; how messages fared. And this very browser, by web push.
import { api, patch, post, put, remove } from "./api.js";
import { button, choice, el, fill, labelled, say, sends, sure, tried } from "./dom.js";
import { ago } from "./times.js";

const KINDS = {
  webhook: { words: "webhook", place: "https://example.org/hook", secret: "Key it is signed with, 16 letters or more" },
  mqtt: { words: "MQTT", place: "mqtts://broker.example.org", secret: "user:password" },
  mail: { words: "e-mail", place: "smtps://mail.example.org", secret: "user:password" },
};
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
          ` ${KINDS[t.kind]?.words ?? t.kind}, ${t.address}${t.on ? "" : ", off"}${t.waiting ? `, ${t.waiting} waiting` : ""} `,
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
      mail = el("div", { class: "row tight" }, labelled("From", sender), labelled("To, several with commas", to)),
      key = el("span", {});
    const turned = () => {
      address.placeholder = KINDS[kind.value].place;
      key.textContent = KINDS[kind.value].secret;
      mail.hidden = kind.value !== "mail";
    };
    kind.addEventListener("change", turned);
    turned();
    return el(
      "form",
      {
        class: "row tight",
        onsubmit: sends(address, async (made) => {
          const settings = { allow: list(allow.value) };
          if (kind.value === "mail") Object.assign(settings, { sender: sender.value.trim(), to: list(to.value) });
          const told = { kind: kind.value, name: name.value, address: address.value.trim(), settings };
          await post("/targets", secret.value ? { ...told, secret: secret.value } : told);
          made.reset();
          turned();
          say("Alarms are told there from now on. Send a test to see that it works.");
          await this.list();
        }),
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
