// A small column chart by day, as SVG.

import { el } from "./common.js";

const [WIDTH, HEIGHT, FOOT, HEAD] = [300, 128, 18, 22];
const [MIN_DAYS, MAX_DAYS] = [7, 14];

const noon = (day) => new Date(`${day}T12:00:00`);
const dayOf = (day) => noon(day).toLocaleDateString("en", { day: "numeric", month: "short" });

/** Return the day of a date in the browser's time zone: "2026-01-31". */
export function calendarDay(when) {
  return [when.getFullYear(), when.getMonth() + 1, when.getDate()].map((part) => String(part).padStart(2, "0")).join("-");
}

/** Return the last days up to the newest, days without a value included: [["2026-01-31", value or null], …]. */
function lastDays(values) {
  const known = [...values.keys()].sort();
  if (!known.length) return [];
  const day = noon(known.at(-1));
  const days = [];
  while (days.length < MIN_DAYS || (days.length < MAX_DAYS && calendarDay(day) >= known[0])) {
    days.unshift([calendarDay(day), values.get(calendarDay(day)) ?? null]);
    day.setDate(day.getDate() - 1);
  }
  return days;
}

/**
 * Draw one value a day.
 * @param title of the chart. @param values Map of day to number or null. @param format function from number to text.
 * @param dots draw points (for a median) instead of columns (for a sum).
 */
export function chart(title, values, format, dots = false) {
  const days = lastDays(values);
  const max = Math.max(...days.map(([, value]) => value), 0);
  const label = days.length ? `${title}: ${days.filter(([, value]) => value !== null).map(([day, value]) => `${dayOf(day)} ${format(value)}`).join(", ")}` : `${title}: no data`;
  const svg = el("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
  const base = HEIGHT - FOOT;
  svg.append(el("line", { class: "axis", x1: 0, x2: WIDTH, y1: base, y2: base }));
  const room = WIDTH / Math.max(days.length, 1);
  const few = days.filter(([, value]) => value !== null).length <= 7;
  days.forEach(([day, value], n) => {
    if (value === null) return;
    const height = max > 0 ? (value / max) * (base - HEAD) : 0;
    const middle = (n + 0.5) * room;
    const wide = Math.min(26, room * 0.62);
    const mark = dots
      ? el("g", {}, el("line", { class: "stem", x1: middle, x2: middle, y1: base, y2: base - height }),
        el("circle", { class: "column", cx: middle, cy: base - height, r: 5 }))
      : el("rect", { class: "column", x: middle - wide / 2, y: base - Math.max(height, 1), width: wide, height: Math.max(height, 1), rx: Math.min(4, wide / 4) });
    mark.append(el("title", {}, `${dayOf(day)}: ${format(value)}`));
    svg.append(mark);
    if (few || value === max) svg.append(el("text", { x: middle, y: base - height - (dots ? 10 : 6), "text-anchor": "middle" }, format(value)));
  });
  for (const [n, anchor] of days.length ? [[0, "start"], [days.length - 1, "end"]] : []) {
    svg.append(el("text", { x: n ? WIDTH : 0, y: HEIGHT - 3, "text-anchor": anchor }, dayOf(days[n][0])));
  }
  return el("section", { class: "card" }, el("h2", {}, title), svg);
}
