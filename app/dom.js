// Elements whose words are only words, messages, and what is on screen. Knows no server.
import { Refused } from "./api.js";

/** An element. props: properties, on...: listeners, "aria-..", "data-..", role: attributes. Children: elements, or text that stays text. */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (/^(aria-|data-|role$|for$|list$|colspan$|scope$)/.test(name)) {
      if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
    } else if (name === "class") made.className = value;
    else if (name === "style") Object.assign(made.style, value);
    else made[name] = value;
  }
  fill(made, ...children);
  return made;
}

export function fill(parent, ...children) {
  parent.replaceChildren(
    ...children
      .flat(2)
      .filter((c) => c !== null && c !== undefined && c !== false)
      .map((c) => (c instanceof Node ? c : String(c))),
  );
}

/** One of Lucide's icons; it says nothing to a screen reader. */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const made = document.createElementNS(space, "svg"),
    use = document.createElementNS(space, "use");
  made.setAttribute("class", "icon");
  made.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `/page/icons.svg#${name}`);
  made.append(use);
  return made;
}

/** A button with an icon and a name; words: shown beside it, else only heard and shown as its tip. key: what does the same. */
export function button(name, act, { picture, words = true, key, ...more } = {}) {
  return el(
    "button",
    {
      type: "button",
      title: key ? `${name} (${key})` : words && picture ? "" : name,
      ...(words ? {} : { "aria-label": name }),
      ...(key ? { "aria-keyshortcuts": key } : {}),
      onclick: act,
      ...more,
    },
    picture ? icon(picture) : null,
    words ? el("span", {}, name) : null,
    key && words ? el("kbd", { "aria-hidden": "true" }, key) : null,
  );
}

/** Status by shape and word, and only then by colour. */
export const SHAPES = { open: "◆", confirmed: "▲", dismissed: "○" };
export function status(name, { words = true } = {}) {
  return el(
    "span",
    { class: `status ${name}`, ...(words ? {} : { role: "img", "aria-label": name, title: name }) },
    el("span", { "aria-hidden": "true" }, SHAPES[name] ?? "•"),
    words ? ` ${name}` : null,
  );
}

/** The window that is open; of two, the question above the other, which stands later in the page. */
export const uppermost = () => [...document.querySelectorAll("dialog:modal")].at(-1);

/** Where something is to be said: in the window that is open, since what lies beneath one is neither seen nor heard. */
function mouth() {
  const open = uppermost() ?? document.body;
  if (told.parentElement === open) return;
  open.append(told);
  open.addEventListener("close", () => told.parentElement === open && document.body.append(told), { once: true });
}

let told;
/** Say something, also to a screen reader; it stays for a while. wrong: it is an error. undo: what takes it back. */
export function say(words, { wrong = false, undo } = {}) {
  told ??= el(
    "div",
    { class: "told" },
    el("div", { role: "status", "aria-live": "polite" }),
    el("div", { role: "alert" }),
  );
  mouth();
  const [calm, alarm] = told.children;
  fill(calm, ...(wrong ? [] : [words, undo ? el("button", { type: "button", onclick: undo }, "Undo") : null]));
  fill(alarm, wrong ? words : "");
  told.dataset.shown = "yes";
  told.at = performance.now();
  clearTimeout(told.timer);
  told.timer = setTimeout(() => (told.dataset.shown = ""), wrong ? 12000 : 6000);
}

/** What was said belongs to another room by now; what just went wrong is still to be read. */
export function hush() {
  if (told && !(told.lastChild.textContent && performance.now() - told.at < 3000)) told.dataset.shown = "";
}

/** Run an async function; what goes wrong is said. where: the element that is busy meanwhile. */
export async function tried(work, where) {
  if (where) where.setAttribute("aria-busy", "true");
  try {
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, { wrong: true });
    if (!(error instanceof Refused) && error.name !== "AbortError") console.error(error);
    return undefined;
  } finally {
    where?.removeAttribute("aria-busy");
  }
}

export function shown(element) {
  return element.isConnected && element.getClientRects().length > 0;
}

export function labelled(words, control) {
  return el("label", {}, el("span", {}, words), control);
}

export function check(words, box) {
  return el("label", { class: "check" }, box, ` ${words}`);
}

export function choice(options, props = {}) {
  return el(
    "select",
    props,
    options.map(([value, words]) => el("option", { value }, words)),
  );
}

/** A field that asks for a zone of time, as the server takes it. */
export const zoned = (props = {}) => el("input", { maxLength: 60, placeholder: "Europe/Berlin or +01:00", ...props });

/** Put other options into a select and keep what is chosen where it is still there. */
export function options(select, pairs) {
  const kept = select.value;
  fill(
    select,
    pairs.map(([value, words]) => el("option", { value }, words)),
  );
  if (pairs.some(([value]) => value === kept)) select.value = kept;
}

/** A field whose fault is told beside it, and to a screen reader. */
export function fault(input, words = "") {
  let line = input.parentElement?.querySelector(".fault");
  if (words && !line) {
    line = el("span", { class: "fault", id: `fault-${Math.random().toString(36).slice(2)}` });
    input.after(line);
    input.setAttribute("aria-describedby", line.id);
  }
  if (line) line.textContent = words;
  input.setAttribute("aria-invalid", words ? "true" : "false");
}

/** What a form does when it is sent: work(form); where the server refuses, its line stands beside the field `told`. */
export const sends = (told, work) => (event) => {
  event.preventDefault();
  tried(async () => {
    fault(told);
    try {
      await work(event.target);
    } catch (error) {
      fault(told, error.message);
      throw error;
    }
  });
};

/** A question before something that is hard to take back: true or false. */
export function sure(words, act = "Yes") {
  return new Promise((answer) => {
    let said = false;
    const dialog = el(
      "dialog",
      { "aria-label": words },
      el("p", {}, words),
      el(
        "form",
        { method: "dialog", class: "row", onsubmit: () => (said = true) },
        el("button", { class: "main", autofocus: true }, act),
        el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      answer(said);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Children of `parent`, in order: those that are there already stay the same elements in the same place, so focus and scroll stay. */
export function arrange(parent, wanted) {
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  let at = parent.firstElementChild;
  for (const element of wanted) {
    if (element === at) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
}
