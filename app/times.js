// Times as people read them. Knows no element. Seconds of a clip, seconds since 1970, and clock times with their offset.

/** The zone of this browser. */
export const HERE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Seconds as 1:02:03.4 */
export function clock(seconds, digits = 1) {
  const unit = 10 ** digits,
    s = Math.max(0, Math.round(seconds * unit) / unit),
    hours = Math.floor(s / 3600),
    minutes = Math.floor(s / 60) % 60;
  const rest = (s % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return (hours ? `${hours}:${String(minutes).padStart(2, "0")}` : minutes) + ":" + rest;
}

/** Seconds from 1:02:03.4, 62.5 or 2:03; null for what is none. */
export function seconds(words) {
  const parts = words.trim().split(":");
  if (!words.trim() || parts.length > 3 || !parts.every((p) => /^\d+(\.\d*)?$/.test(p))) return null;
  return parts.reduce((sum, part) => sum * 60 + Number(part), 0);
}

/** A stamp (s since 1970) as day and time by the reader's own clock, written as those of a place are. */
export function when(stamp) {
  if (!stamp) return "";
  const date = new Date(stamp * 1000);
  return new Date(date - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19).replace("T", " ");
}

/** How long ago a stamp was, in words. */
export function ago(stamp, now = Date.now() / 1000) {
  const s = Math.max(0, Math.round(now - stamp));
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.round(s / 60)} min ago`;
  return s < 86400 ? `${Math.round(s / 3600)} h ago` : `${Math.round(s / 86400)} d ago`;
}

/** The clock of the place: an ISO time with its offset, `later` seconds on, as {day, time}; null without one. */
export function wall(iso, later = 0) {
  const found = /^(.+T.+?)(Z|[+-]\d\d:\d\d)$/.exec(iso ?? "");
  if (!found) return null;
  const [, sign, hours, minutes] = /([+-])(\d\d):(\d\d)/.exec(found[2]) ?? ["", "+", 0, 0];
  const offset = (sign === "-" ? -1 : 1) * (Number(hours) * 60 + Number(minutes));
  const there = new Date(Date.parse(iso) + later * 1000 + offset * 60_000).toISOString();
  return { day: there.slice(0, 10), time: there.slice(11, 19) };
}

/** When a moment of a clip was: the clock of its place where that is known, and the place in the clip. */
export function moment(iso, at) {
  const there = wall(iso);
  return there ? `${there.time} · ${clock(at)}` : clock(at);
}

export function bytes(count) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (count < 1024 || unit === "GiB") return `${unit === "B" ? count : count.toFixed(1)} ${unit}`;
    count /= 1024;
  }
}

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
