// Pictures of a camera: the newest of one that is watched, and those of its clips.
import { api } from "./api.js";

/** The newest picture of a camera that is watched: {data, covered}; data: null where there is none, covered: since nobody may see it. */
export async function pictureOf(id) {
  const answer = await fetch(`/api/cameras/${id}/picture`);
  return { data: answer.ok ? await answer.blob() : null, covered: answer.status === 409 };
}

/** Clips of a camera, '' for those without one, that have pictures; the newest first. */
export async function clipsOf(camera, count) {
  const { videos } = await api("/videos?" + new URLSearchParams({ camera, count: String(camera ? count : 200) }));
  return videos.filter((v) => v.camera === camera && v.duration).slice(0, count);
}

/** The address of a clip's picture at some seconds. */
export const frameOf = ({ id, covered }, at) => `/api/videos/${id}/frame?t=${at}&v=${covered?.version ?? ""}`;
