// The gallery "Segmind" in the navigation: the newest requests over all DAGs, with filters and sums.

import { api, appLink, count, credits, el, idsOf, isObject, median, number, previewUrl, seconds, show,
  text, xcom } from "./common.js";
import { calendarDay, chart } from "./chart.js";
import { OPERATORS, STAGES, inputOf, isBatch, isPicture, isRequestId, isResult, modelOf, outputsOf, stage } from "./requests.js";
import { notice, pill, tiles } from "./parts.js";

const PAGE = 50;
const MOST_LOOKS = 4; // pages that one click may look through for what the filter lets pass
const HEAVY = 6_000_000; // bytes; a larger output is no thumbnail
const STATES = {
  done: ["success"], waiting: ["scheduled", "queued", "running", "deferred", "up_for_reschedule", "restarting"],
  retry: ["up_for_retry"], failed: ["failed", "upstream_failed"],
};

const page = document.getElementById("page");
const filters = { model: "", dag: "", state: "" };
let found = []; // {ti, value, error, card}, newest first
let cursor = ""; // of the next page; null after the last one
let generation = 0; // answers of an older one are dropped

// --- reading -------------------------------------------------------------------------------------------------------

async function nextPage() {
  const mine = generation;
  const query = { operator: OPERATORS, order_by: "-start_date", limit: PAGE, cursor };
  if (filters.state) query.state = STATES[filters.state];
  const dag = filters.dag ? encodeURIComponent(filters.dag) : "~";
  const answer = await api(`/dags/${dag}/dagRuns/~/taskInstances`, query);
  if (mine !== generation) return [];
  cursor = answer.next_cursor ?? null;
  const fresh = answer.task_instances.map((ti) => ({ ti, value: undefined, error: null }));
  found.push(...fresh);
  fresh.forEach((item) => { item.element = cardOf(item); });
  refresh();
  await Promise.all(fresh.map(async (item) => {
    await readValue(item);
    if (mine !== generation) return;
    const made = cardOf(item);
    item.element.replaceWith(made);
    item.element = made;
    summarise();
  }));
  return fresh;
}

async function readValue(item) {
  const where = stage(item.ti);
  try {
    if (where === "done") item.value = await xcom(idsOf(item.ti));
    if (where === "failed" || where === "retry") item.error = await xcom(idsOf(item.ti), "segmind_error");
  } catch { /* no rights, or the API is busy: the card says what the task instance says */ }
}

async function more() {
  const mine = generation;
  busy(true);
  try {
    const before = visible().length;
    for (let looks = 0; looks < MOST_LOOKS && cursor !== null && visible().length === before; looks += 1) {
      await nextPage();
      if (mine !== generation) return;
    }
    refresh();
  } catch (error) {
    if (mine === generation) say(error.status === 403 ? "You may not read task instances." : `Airflow did not answer: ${text(error.message)}`);
  } finally {
    if (mine === generation) busy(false);
  }
}

async function restart() {
  generation += 1;
  [found, cursor] = [[], ""];
  grid.replaceChildren();
  await more();
}

// --- what is shown ---------------------------------------------------------------------------------------------------

/** One card for each request: a sensor or a transfer that hands on the same request adds none. */
function visible() {
  const seen = new Set();
  return found.filter((item) => {
    if (filters.model && modelOf(item.ti, item.value) !== filters.model) return false;
    const id = isResult(item.value) ? item.value.request_id : isRequestId(item.value) ? item.value : null;
    const again = id !== null && seen.has(id);
    if (id !== null) seen.add(id);
    return !again;
  });
}

const grid = el("ul", { class: "grid", "aria-label": "Requests" });
const sums = el("div", { class: "overview" });
const message = el("div", { role: "status" });
const button = el("button", { type: "button", class: "button", onclick: more }, "Show more");
const selects = {};
let drawing = false;

function summarise() {
  if (drawing) return; // once a frame is enough
  drawing = true;
  requestAnimationFrame(() => { drawing = false; refresh(); });
}

function refresh() {
  const shown = visible();
  const kept = new Set(shown);
  for (const item of found) {
    item.element.hidden = !kept.has(item);
    if (!item.element.parentNode) grid.append(item.element);
  }
  options("model", found.map((item) => modelOf(item.ti, item.value)));
  options("dag", found.map((item) => item.ti.dag_id));
  const done = shown.filter((item) => isObject(item.value));
  const metric = (name) => done.map((item) => number(item.value.metrics?.[name]));
  const all = (values) => values.reduce((sum, value) => sum + (value ?? 0), 0);
  const pictures = all(done.map((item) => (isBatch(item.value) ? number(item.value.stored) : outputsOf(item.value).filter(isPicture).length)));
  const [run, queue] = [median(metric("inference_time")), median(metric("queue_time"))];
  const failed = shown.filter((item) => stage(item.ti) === "failed").length;
  sums.replaceChildren(
    tiles(["Pictures", count(pictures), `of ${count(shown.length)} requests shown`], ["Cost", credits(all(metric("cost"))), "credits"],
      ["Median run", run === null ? "–" : seconds(run), queue === null ? "" : `after ${seconds(queue)} in the queue`],
      ["Failed", count(failed), `of ${count(shown.length)}`]),
    el("div", { class: "charts" },
      chart("Cost by day, credits", byDay(done, (items) => all(items.map((item) => number(item.value.metrics?.cost)))), credits),
      chart("Median time by day", byDay(done, (items) => median(items.map((item) => number(item.value.metrics?.total_time)))), seconds, true)));
  say(shown.length || cursor !== null ? "" : Object.values(filters).some(Boolean) ? "Nothing fits these filters." : "No task has run a Segmind model yet.");
  button.hidden = cursor === null;
}

function byDay(items, sum) {
  const days = new Map();
  for (const item of items) {
    const when = new Date(item.ti.start_date ?? item.ti.run_after);
    if (Number.isNaN(when.valueOf())) continue;
    const day = calendarDay(when);
    days.set(day, [...(days.get(day) ?? []), item]);
  }
  return new Map([...days].map(([day, those]) => [day, sum(those)]));
}

function say(words) {
  message.replaceChildren(...(words ? [notice(words)] : []));
}

function busy(on) {
  button.disabled = on;
  button.textContent = on ? "Loading …" : "Show more";
  grid.setAttribute("aria-busy", on);
}

// --- one card ----------------------------------------------------------------------------------------------------------

function cardOf({ ti, value, error }) {
  const ids = idsOf(ti);
  const model = modelOf(ti, value);
  const cost = isObject(value) ? number(value.metrics?.cost) : null;
  const name = ids.map_index >= 0 ? `${ids.task_id} [${ti.rendered_map_index ?? ids.map_index}]` : ids.task_id;
  const link = (label, place, said) => el("div", {}, el("dt", {}, label), el("dd", {}, appLink(place, ids, { title: text(said) }, text(said))));
  return el("li", { class: "card item" },
    appLink("tab", ids, { class: "thumb", "aria-label": `Open ${model || "request"} of ${name}` }, ...thumbnail(ti, value, error),
      pill(stage(ti), isRequestId(value) ? "Submitted" : undefined)),
    el("div", { class: "about" },
      el("div", { class: "line" }, el("b", { title: model }, model || "request"),
        cost === null ? null : el("span", { class: "cost quiet" }, `${credits(cost)} cr`)),
      el("dl", { class: "where" }, link("DAG", "dag", ti.dag_display_name ?? ids.dag_id), link("Run", "run", ids.run_id),
        link("Task", "task", name)),
      el("div", { class: "line" }, el("span", { class: "quiet" }, ago(ti.start_date)))));
}

function ago(when) {
  const passed = (Date.now() - Date.parse(when)) / 1000;
  if (!Number.isFinite(passed)) return "not started";
  const [unit, length] = [["day", 86400], ["hour", 3600], ["minute", 60]].find(([, size]) => passed >= size) ?? ["second", 1];
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.floor(passed / length), unit);
}

function thumbnail(ti, value, error) {
  if (isBatch(value)) return [el("span", { class: "said" }, `A batch: ${count(value.total)} pictures`)];
  const said = el("span", { class: "said" }, wordsFor(ti, value, error));
  const [output] = isResult(value) ? outputsOf(value) : [];
  const input = inputOf(ti).url;
  if (output && !isPicture(output)) return [said];
  if (isObject(output?.preview.after)) return [said, previewed(idsOf(ti), said)];
  const url = output && (output.bytes ?? 0) > HEAVY && input ? input : output?.url ?? (output ? null : input);
  return url ? [picture(url, said), said] : [said];
}

function picture(url, said) {
  const img = el("img", { alt: "", loading: "lazy", decoding: "async", referrerpolicy: "no-referrer", src: url });
  img.addEventListener("error", () => img.remove()); // the words below say why there is nothing
  img.addEventListener("load", () => { said.hidden = true; });
  return img;
}

/** A stored preview, asked for when it comes into sight: the route has a limit, and so has patience. */
function previewed(ids, said) {
  const place = el("span", { hidden: true });
  const near = new IntersectionObserver(async (entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    try {
      const url = await previewUrl(ids, "after", 0);
      const img = picture(url, said);
      img.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
      place.replaceWith(img);
    } catch (error) { said.textContent = text(error.message); }
  }, { rootMargin: "200px" });
  near.observe(said);
  return place;
}

function wordsFor(ti, value, error) {
  if (isObject(error)) return text(error.message || error.title || "failed");
  if (isResult(value)) return "No preview: it lies in private storage, or is not public any more.";
  return { waiting: "On its way", failed: "See its logs", skipped: "Skipped", retry: "Tried again soon", done: "Submitted" }[stage(ti)];
}

// --- filters --------------------------------------------------------------------------------------------------------------

function options(name, values) {
  const select = selects[name];
  const known = new Set([...select.options].map((option) => option.value));
  for (const value of [...new Set(values)].sort()) {
    if (typeof value === "string" && value && !known.has(value)) select.append(el("option", { value }, value));
  }
}

function filter(name, label, all, choices = {}) {
  selects[name] = el("select", { onchange: (event) => {
    filters[name] = event.target.value;
    if (name !== "model") return restart();
    refresh();
    return visible().length ? undefined : more();
  } }, el("option", { value: "" }, all), Object.entries(choices).map(([value, words]) => el("option", { value }, words)));
  return el("label", {}, label, selects[name]);
}

const shownStates = Object.fromEntries(Object.keys(STATES).map((name) => [name, STAGES[name]]));
show(page,
  el("div", { class: "top" }, el("h1", {}, "Segmind"), filter("model", "Model", "All models"), filter("dag", "DAG", "All DAGs"),
    filter("state", "State", "All states", shownStates), el("button", { type: "button", class: "button", onclick: restart }, "Refresh")),
  sums, grid, message, el("div", { class: "more" }, button));
restart();
// A DAG can be chosen whose requests are none of the newest.
api("/dags", { limit: 100, order_by: "-last_run_start_date" }).then(({ dags }) => options("dag", dags.map((dag) => dag.dag_id)), () => {});
