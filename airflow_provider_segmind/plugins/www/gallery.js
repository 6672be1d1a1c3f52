// The gallery "Segmind" in the navigation: the newest requests of all DAGs, with filters and totals.

import { api, appLink, count, credits, el, idsOf, isObject, median, number, previewUrl, seconds, show,
  text, xcom } from "./common.js";
import { calendarDay, chart } from "./chart.js";
import { OPERATORS, STAGES, inputOf, isBatch, isImage, isRequestId, isResult, modelOf, outputsOf, stage } from "./requests.js";
import { notice, pill, tiles } from "./parts.js";

const PAGE = 50;
const MAX_PAGES = 4; // pages that one click may read to find a request that passes the filter
const MAX_THUMBNAIL = 6_000_000; // bytes; a larger output is not loaded as a thumbnail
const STATES = {
  done: ["success"], waiting: ["scheduled", "queued", "running", "deferred", "up_for_reschedule", "restarting"],
  retry: ["up_for_retry"], failed: ["failed", "upstream_failed"],
};

const page = document.getElementById("page");
const filters = { model: "", dag: "", state: "" };
let found = []; // {ti, value, error, card}, newest first
let cursor = ""; // of the next page; null after the last one
let generation = 0; // responses to calls of an older generation are dropped

// --- reading -------------------------------------------------------------------------------------------------------

async function nextPage() {
  const mine = generation;
  const query = { operator: OPERATORS, order_by: "-start_date", limit: PAGE, cursor };
  if (filters.state) query.state = STATES[filters.state];
  const dag = filters.dag ? encodeURIComponent(filters.dag) : "~";
  const response = await api(`/dags/${dag}/dagRuns/~/taskInstances`, query);
  if (mine !== generation) return [];
  cursor = response.next_cursor ?? null;
  const added = response.task_instances.map((ti) => ({ ti, value: undefined, error: null }));
  found.push(...added);
  added.forEach((item) => { item.element = cardOf(item); });
  refresh();
  await Promise.all(added.map(async (item) => {
    await readValue(item);
    if (mine !== generation) return;
    const made = cardOf(item);
    item.element.replaceWith(made);
    item.element = made;
    summarise();
  }));
  return added;
}

async function readValue(item) {
  const where = stage(item.ti);
  try {
    if (where === "done") item.value = await xcom(idsOf(item.ti));
    if (where === "failed" || where === "retry") item.error = await xcom(idsOf(item.ti), "segmind_error");
  } catch { /* no permission, or the API is busy: the card shows the state of the task instance */ }
}

async function more() {
  const mine = generation;
  busy(true);
  try {
    const before = visible().length;
    for (let pages = 0; pages < MAX_PAGES && cursor !== null && visible().length === before; pages += 1) {
      await nextPage();
      if (mine !== generation) return;
    }
    refresh();
  } catch (error) {
    if (mine === generation) showMessage(error.status === 403 ? "You do not have permission to read task instances." : `Airflow's API could not be read: ${text(error.message)}. Refresh to try again.`);
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

// --- display ---------------------------------------------------------------------------------------------------

/** One card for each request: a sensor or a transfer that returns the same request adds none. */
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
const totals = el("div", { class: "overview" });
const message = el("div", { role: "status" });
const button = el("button", { type: "button", class: "button", onclick: more }, "Show more");
const selects = {};
let refreshing = false;

function summarise() {
  if (refreshing) return; // once per frame is enough
  refreshing = true;
  requestAnimationFrame(() => { refreshing = false; refresh(); });
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
  const images = all(done.map((item) => (isBatch(item.value) ? number(item.value.stored) : outputsOf(item.value).filter(isImage).length)));
  const [run, queue] = [median(metric("inference_time")), median(metric("queue_time"))];
  const failed = shown.filter((item) => stage(item.ti) === "failed").length;
  totals.replaceChildren(
    tiles(["Images", count(images), `of ${count(shown.length)} requests shown`], ["Cost", credits(all(metric("cost"))), "USD"],
      ["Median run", run === null ? "–" : seconds(run), queue === null ? "" : `after ${seconds(queue)} in the queue`],
      ["Failed", count(failed), `of ${count(shown.length)}`]),
    el("div", { class: "charts" },
      chart("Cost by day, USD", byDay(done, (items) => all(items.map((item) => number(item.value.metrics?.cost)))), credits),
      chart("Median time by day", byDay(done, (items) => median(items.map((item) => number(item.value.metrics?.total_time)))), seconds, true)));
  showMessage(shown.length || cursor !== null ? "" : Object.values(filters).some(Boolean) ? "No request matches these filters." : "No task has run a Segmind model yet.");
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

function showMessage(content) {
  message.replaceChildren(...(content ? [notice(content)] : []));
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
  const link = (label, place, name) => el("div", {}, el("dt", {}, label), el("dd", {}, appLink(place, ids, { title: text(name) }, text(name))));
  return el("li", { class: "card item" },
    appLink("tab", ids, { class: "thumb", "aria-label": `Open ${model || "request"} of ${name}` }, ...thumbnail(ti, value, error),
      pill(stage(ti), isRequestId(value) ? "Submitted" : undefined)),
    el("div", { class: "about" },
      el("div", { class: "line" }, el("b", { title: model }, model || "request"),
        cost === null ? null : el("span", { class: "cost quiet" }, `${credits(cost)} USD`)),
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
  if (isBatch(value)) return [el("span", { class: "message" }, `Batch of ${count(value.total)} images`)];
  const message = el("span", { class: "message" }, messageFor(ti, value, error));
  const [output] = isResult(value) ? outputsOf(value) : [];
  const input = inputOf(ti).url;
  if (output && !isImage(output)) return [message];
  if (isObject(output?.preview.after)) return [message, previewed(idsOf(ti), message)];
  const url = output && (output.bytes ?? 0) > MAX_THUMBNAIL && input ? input : output?.url ?? (output ? null : input);
  return url ? [image(url, message), message] : [message];
}

/** Return a thumbnail; the message is shown until the image is loaded, and if it cannot be. */
function image(url, message) {
  const img = el("img", { alt: "", loading: "lazy", decoding: "async", referrerpolicy: "no-referrer", src: url });
  img.addEventListener("error", () => img.remove()); // the message stays
  img.addEventListener("load", () => { message.hidden = true; });
  return img;
}

/** Return a stored preview that is requested when it becomes visible: the route has a rate limit. */
function previewed(ids, message) {
  const place = el("span", { hidden: true });
  const near = new IntersectionObserver(async (entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    try {
      const url = await previewUrl(ids, "after", 0);
      const img = image(url, message);
      img.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
      place.replaceWith(img);
    } catch (error) { message.textContent = text(error.message); }
  }, { rootMargin: "200px" });
  near.observe(message);
  return place;
}

function messageFor(ti, value, error) {
  if (isObject(error)) return text(error.message || error.title || "failed");
  if (isResult(value)) return "No preview: the output is in private storage, or its public address has expired.";
  return { waiting: "Waiting", failed: "Failed: see the task's logs", skipped: "Skipped", retry: "Airflow will retry", done: "Submitted" }[stage(ti)];
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
  } }, el("option", { value: "" }, all), Object.entries(choices).map(([value, label]) => el("option", { value }, label)));
  return el("label", {}, label, selects[name]);
}

const shownStates = Object.fromEntries(Object.keys(STATES).map((name) => [name, STAGES[name]]));
show(page,
  el("div", { class: "top" }, el("h1", {}, "Segmind"), filter("model", "Model", "All models"), filter("dag", "DAG", "All DAGs"),
    filter("state", "State", "All states", shownStates), el("button", { type: "button", class: "button", onclick: restart }, "Refresh")),
  totals, grid, message, el("div", { class: "more" }, button));
restart();
// The filter also offers DAGs whose requests are not among the newest.
api("/dags", { limit: 100, order_by: "-last_run_start_date" }).then(({ dags }) => options("dag", dags.map((dag) => dag.dag_id)), () => {});
