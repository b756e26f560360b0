/*
 * What threads wait for: the frames that say so, and the words for each.
 */

/** Hue, saturation and lightness, all of them cool. @type {Record<string, [number, number, number]>} */
export const STATES = {
  "[sleep]": [187, 52, 66],
  "[disk]": [246, 58, 78],
  "[lock]": [288, 46, 77],
  "[preempted]": [207, 80, 66],
  "[runnable]": [156, 52, 60],
  "[idle]": [205, 18, 82],
};

/** The sources of time, together the time of the wall: `cpu,offcpu`. */
export const WALL = "cpu,offcpu";

/**
 * What values by time of a source of time are, a column at a time.
 * @param {string} source
 */
export function timeName(source) {
  if (source === WALL) return "threads";
  return source === "cpu" || source === "" ? "CPUs used" : "waiting";
}
