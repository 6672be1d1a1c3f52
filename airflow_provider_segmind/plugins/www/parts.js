// Pieces of the tab: heading, cards, tiles, facts, notices, the batch.

import { appLink, count, credits, el, idsOf, isObject, number, seconds, text } from "./common.js";
import { STAGES, modelOf, stage } from "./requests.js";

export const card = (...children) => el("section", { class: "card" }, ...children);

export const pill = (name, label) => el("span", { class: `pill ${name}` }, label ?? STAGES[name]);

export function notice(title, detail, ...more) {
  return el("section", { class: "notice", role: "status" }, el("h2", {}, title), detail ? el("p", {}, detail) : null, ...more);
}

/** Show model, state and task, and links to the previous and the next mapped task. */
export function heading(ti, result) {
  const name = modelOf(ti, result) || "Segmind";
  const index = ti.map_index;
  const step = (to, label, sign) => (to < 0 || to >= ti.siblings ? null : appLink("tab", { ...idsOf(ti), map_index: to },
    { class: "step", "aria-label": label, title: label }, sign));
  return el("header", { class: "heading" },
    el("h1", {}, text(name)), pill(stage(ti)),
    el("p", { class: "quiet" }, text(ti.task_display_name ?? ti.task_id),
      index >= 0 ? [` · ${text(ti.rendered_map_index ?? index)}`, ti.siblings ? ` (${index + 1} of ${ti.siblings})` : null, step(index - 1, "Previous mapped task", "‹"),
        step(index + 1, "Next mapped task", "›")] : null,
      ti.try_number > 1 ? ` · try ${count(ti.try_number)}` : null));
}

/** Show a row of numbers: [name, value, remark]; those without a value are skipped. */
export function tiles(...rows) {
  return el("dl", { class: "tiles" }, rows.filter(([, value]) => value !== null && value !== undefined).map(
    ([name, value, remark]) => el("div", { class: "tile" }, el("dt", {}, name),
      el("dd", {}, el("b", {}, value), remark ? el("span", {}, remark) : null))));
}

/** Show a list of [name, text or node]; empty ones are skipped. */
export function facts(rows) {
  return el("dl", { class: "facts" }, rows.filter(([, value]) => value !== null && value !== undefined && value !== "").map(
    ([name, value]) => [el("dt", {}, text(name)), el("dd", {}, value instanceof Node ? value : text(value))]));
}

/** Link the mapped instances of a task. */
export function siblings(mapped) {
  return card(el("ul", { class: "siblings" }, mapped.map((ti) => el("li", {}, pill(stage(ti)), " ",
    appLink("tab", idsOf(ti), {}, text(ti.rendered_map_index ?? ti.map_index))))));
}

/** Show the numbers of a batch. */
export function batch(ti, value) {
  const whole = Math.max(number(value.total) ?? 0, 1);
  const [stored, reused, failed] = ["stored", "reused", "failed"].map((name) => number(value[name]) ?? 0);
  const bar = el("div", { class: "bar", role: "img", "aria-label": `${stored} stored, ${failed} failed of ${whole}` });
  for (const [name, amount] of [["reused", reused], ["done", stored - reused], ["failed", failed]]) {
    const piece = el("span", { class: name });
    piece.style.width = `${(100 * Math.max(amount, 0)) / whole}%`;
    bar.append(piece);
  }
  const metrics = isObject(value.metrics) ? value.metrics : {};
  const formatted = (amount, format) => (number(amount) === null ? null : format(amount));
  const errors = isObject(value.errors) ? Object.entries(value.errors).map(([name, often]) => [name, text(often)]) : [];
  return [
    heading(ti, value),
    card(el("h2", {}, `Batch of ${count(whole)} images`), bar,
      tiles(["Stored", count(stored), reused ? `${count(reused)} were stored before` : ""], ["Failed", count(failed)],
        ["Cost of this run", formatted(metrics.cost, credits), "USD"],
        ["Balance after", formatted(metrics.remaining_credits, credits), "credits"], ["Duration", formatted(value.seconds, seconds)])),
    el("div", { class: "columns" },
      card(el("h2", {}, "Manifest"), facts([["URI", value.manifest], ["Content", "One line per image: state, objects or error, cost, times."]])),
      errors.length ? card(el("h2", {}, "Errors"), facts(errors)) : null),
  ];
}
