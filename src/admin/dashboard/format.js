// Numbers and times as people read them.

export function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** A rate or a count: three significant digits below 100. */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  return number(value, value === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10000) return `${number(value / 1000, 1)} s`;
  return `${number(value, value >= 100 ? 0 : value >= 10 ? 1 : 2)} ms`;
}

/** A part of a whole, at most all of it: what fails in an interval may have begun before it. */
export function percent(part, whole) {
  const all = Math.max(part, whole);
  if (!all) return "–";
  const share = (100 * part) / all;
  return `${number(share, share === 0 || share >= 10 ? 0 : share >= 1 ? 1 : 2)}%`;
}

export function duration(seconds) {
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => seconds >= size);
  if (first < 0) return "0s";
  let rest = Math.floor(seconds);
  return units.slice(first, first + 2).map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return count > 0 ? `${count}${unit}` : "";
  }).filter(Boolean).join(" ");
}

export function clock(time) {
  return new Date(time).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** Milliseconds by which the clock of the process is ahead of the one here. */
let ahead = 0;

/** Takes the `Date` of a response, which is exact to a second. */
export function serverTime(date) {
  const difference = Date.parse(date) - Date.now();
  if (!Number.isNaN(difference)) ahead = Math.abs(difference) > 2000 ? difference : 0;
}

/** The time since a moment of the process's clock. */
export function ago(time) {
  return duration(Math.max(0, (Date.now() + ahead - Date.parse(time)) / 1000));
}

/** Bytes, with a unit of 1,024. */
export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${number(value, unit === 0 || value >= 100 ? 0 : 1)} ${units[unit]}`;
}
