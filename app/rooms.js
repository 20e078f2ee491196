// The way from room to room. Its address stands in the hash, so that Back, a bookmark and a link in an e-mail work.

export const ROOMS = [
  ["analyse", "Analyse", "upload"],
  ["wall", "Wall", "monitor-play"],
  ["alarms", "Alarms", "siren"],
  ["review", "Review", "list-checks"],
  ["day", "Day", "calendar-days"],
  ["places", "Places", "map-pin"],
  ["covers", "Covers", "eye-off"],
  ["search", "Search", "search"],
  ["evidence", "Evidence", "shield-check"],
  ["prompts", "Prompts", "message-square"],
  ["settings", "Settings", "settings"],
];

export function place(hash = location.hash) {
  const [name, query] = hash.slice(1).split("?");
  return {
    name: ROOMS.some(([known]) => known === name) ? name : ROOMS[0][0],
    unknown: name && !ROOMS.some(([known]) => known === name) ? name : "",
    params: Object.fromEntries(new URLSearchParams(query ?? "")),
  };
}

export function to(name, params = {}) {
  const query = new URLSearchParams(params).toString();
  return `#${name}${query ? "?" + query : ""}`;
}

/** To a room; where it is the address already, the room hears of it anew. */
export function go(name, params = {}) {
  const hash = to(name, params);
  if (location.hash === hash) dispatchEvent(new HashChangeEvent("hashchange"));
  else location.hash = hash;
}
