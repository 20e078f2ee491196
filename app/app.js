// The page around its rooms: the way from one to the next, titles, who is signed in, and help. A room is loaded when somebody first goes there.
import { me, post } from "./api.js";
import { button, el, fill, hush, icon, say, tried } from "./dom.js";
import { sweep } from "./drafts.js";
import { HELP } from "./help.js";
import { once } from "./keys.js";
import { ROOMS, place, to } from "./rooms.js";

const main = document.getElementById("main"),
  nav = document.getElementById("rooms"),
  rooms = new Map();
let now = null;

async function show() {
  if (location.hash === "#main") return; // the way past the bar, not a room
  const { name, params, unknown } = place();
  if (now !== name) hush();
  if (unknown) say(`There is no room called “${unknown.slice(0, 40)}”.`, { wrong: true });
  if (!location.hash || unknown) history.replaceState(null, "", to(name));
  if (!rooms.has(name)) rooms.set(name, load(name));
  const { root, started } = rooms.get(name),
    before = now;
  now = name;
  for (const [other, there] of rooms) there.root.hidden = other !== name;
  for (const link of nav.children) {
    if (link.dataset.room === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${ROOMS.find(([known]) => known === name)[1]} · vlad`;
  const own = await tried(() => started, root);
  if (!own) {
    root.remove();
    rooms.delete(name); // tried again when somebody comes back
  }
  if (before && before !== name) (await rooms.get(before)?.started.catch(() => null))?.leave?.();
  if (now === name) await own?.arrive(params);
}

function load(name) {
  const title = ROOMS.find(([known]) => known === name)[1],
    section = el("section", { "aria-label": title, class: "here" });
  const root = el(
    "div",
    { id: `room-${name}`, class: "room", hidden: true },
    el("h1", { class: "unseen" }, title),
    section,
  );
  main.querySelector(":scope > .waiting")?.remove();
  main.append(root);
  const started = import(`./${name}.js`).then(async (room) => {
    const own = await room.start(section);
    section.firstElementChild?.append(helpOf(name, title));
    return own;
  });
  return { root, started };
}

/** What a room is for, behind a question mark in its corner. */
function helpOf(name, title) {
  const dialog = el(
    "dialog",
    { class: "vlad", "aria-label": `Help: ${title}` },
    el("h2", {}, title),
    HELP[name].map((words) => el("p", {}, words)),
    el("form", { method: "dialog" }, el("button", {}, "Close")),
  );
  document.body.append(dialog);
  return button(`Help: ${title}`, () => dialog.showModal(), { picture: "circle-help", words: false, class: "help" });
}

async function begin() {
  sweep();
  once();
  fill(
    nav,
    ROOMS.map(([name, title, picture]) =>
      el(
        "a",
        { id: `room-${name}-button`, href: `./${to(name)}`, "data-room": name },
        icon(picture),
        el("span", {}, title),
      ),
    ),
  );
  addEventListener("hashchange", show);
  const user = await tried(me);
  if (!user) return;
  fill(
    document.getElementById("who"),
    user.local
      ? el("span", { class: "small" }, "this machine only, no sign-in")
      : [
          el("span", { class: "small" }, `${user.name}, ${user.role}`),
          button(
            "Sign out",
            () =>
              tried(async () => {
                await post("/logout");
                location.assign("/login");
              }),
            { picture: "log-out", title: "Sign out", "aria-label": "Sign out" },
          ),
        ],
  );
  await show();
}

// A clip that misses the drop zone must not replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
begin();
