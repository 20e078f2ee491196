// The head of the page: its name, who is signed in, and the way out.
import { api, arrived, el, fill, me, tried } from "./common.js";

export async function start(root) {
  const user = await me();
  fill(
    root,
    el("h1", { class: "vlad" }, "vlad"),
    el(
      "p",
      { class: "vlad who" },
      user.local ? "on this machine only, no sign-in" : `${user.name}, ${user.role} `,
      user.local
        ? null
        : el(
            "button",
            {
              type: "button",
              onclick: () =>
                tried(async () => {
                  await api("/logout", { method: "POST" });
                  location.assign("/login");
                }),
            },
            "Sign out",
          ),
    ),
  );
  root.classList.add("vlad", "head");
  addEventListener("hashchange", arrived);
  if (location.hash) arrived();
}
