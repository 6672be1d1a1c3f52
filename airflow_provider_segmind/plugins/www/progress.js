// The tab while a request is not finished, and after it has failed.

import { api, appLink, el, idsOf, isObject, median, number, seconds, text, xcom } from "./common.js";
import { card, facts, heading, notice } from "./parts.js";
import { isBatch, isRequestId, modelOf } from "./requests.js";

const COMPARED = 12; // earlier requests from which the usual time of a model is computed

/** Return a title and a sentence about what the task does now. */
function activity(ti) {
  const kind = ti.trigger?.classpath?.split(".").pop() ?? "";
  if (ti.state === "deferred") {
    return kind === "SegmindRateLimitTrigger"
      ? ["Waiting for the rate limit", "Nothing is submitted yet. The task submits when the rate limit resets."]
      : ["Waiting for Segmind", "The task is deferred: the triggerer polls, and no worker slot is used."];
  }
  if (ti.state === "running") return ["Running", "A worker submits the request, waits for it, or stores its output."];
  if (ti.state === "up_for_reschedule") return ["Waiting for Segmind", "The task polls again at its next poke."];
  return ["Not started", "No worker has started this task yet."];
}

/** Return how long the latest requests of this model took (median, seconds); null if none is known. */
async function usual(ti) {
  const model = modelOf(ti);
  try {
    const { task_instances: earlier } = await api("/dags/~/dagRuns/~/taskInstances",
      { operator: ti.operator, state: "success", order_by: "-start_date", limit: COMPARED, cursor: "" });
    const results = await Promise.all(earlier.map((one) => xcom(idsOf(one)).catch(() => undefined)));
    return median(results.filter((one) => isObject(one) && one.model === model && !isBatch(one) && one.skipped !== true)
      .map((one) => number(one.metrics?.total_time)));
  } catch { return null; } // the page works without it
}

/** Return the waiting view: its nodes, a function that updates it, and its clock, which runs while it is shown. */
export async function waiting(first) {
  const title = el("h2");
  const description = el("p", { class: "quiet" });
  const clock = el("b", { class: "clock" });
  const expected = el("span", { class: "quiet" });
  const fill = el("span");
  const bar = el("div", { class: "progress", role: "progressbar", "aria-label": "Elapsed share of the usual time" }, fill);
  const request = el("div");
  let began = Date.parse(first.start_date);
  let typical = null;
  let known = false;

  function tick() {
    const passed = Math.max(0, (Date.now() - began) / 1000);
    clock.textContent = Number.isFinite(passed) ? seconds(Math.floor(passed)) : "–";
    const share = typical && Number.isFinite(passed) ? Math.min(0.97, passed / typical) : null;
    bar.classList.toggle("unknown", share === null);
    fill.style.width = share === null ? "" : `${100 * share}%`;
    if (share === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", Math.round(100 * share));
    if (clock.isConnected) setTimeout(tick, 500);
  }
  async function update(ti) {
    const [name, sentence] = activity(ti);
    if (title.textContent !== name) [title.textContent, description.textContent] = [name, sentence];
    began = Date.parse(ti.start_date);
    if (known) return;
    const id = await xcom(idsOf(ti), "request_id").catch(() => undefined);
    known = isRequestId(id);
    if (known) request.replaceChildren(facts([["Request id", id]]));
  }
  await update(first);
  usual(first).then((found) => {
    typical = found;
    expected.textContent = found === null ? "No earlier request of this model to compare with" : `Usually ${seconds(found)}`;
  });
  return {
    nodes: [heading(first), card(el("div", { role: "status" }, title, description), bar, el("p", { class: "times" }, clock, expected), request)],
    update,
    tick,
  };
}

/** Return the failed view: the error's message, and what to do. */
export function failed(ti, error) {
  const logs = appLink("task", idsOf(ti), { class: "button" }, "Open the logs");
  const again = ti.state === "up_for_retry" ? "Airflow will retry this task." : "";
  if (!isObject(error)) {
    const why = ti.state === "upstream_failed" ? "An upstream task failed, so this task did not run."
      : "The task failed without an error of this provider. Its logs show the reason.";
    return [heading(ti), notice(why, again, logs)];
  }
  const expired = error.type === "SegmindRequestExpiredError";
  return [heading(ti), el("section", { class: "notice error", role: "status" },
    expired ? el("p", { class: "quiet" }, "Expired") : null,
    el("h2", {}, text(error.title || "The task failed")),
    error.message ? el("blockquote", {}, text(error.message)) : null,
    error.next_step ? el("p", { class: "advice" }, el("b", {}, "What to do: "), text(error.next_step)) : null,
    again ? el("p", {}, again) : null,
    facts([["Request id", error.request_id], ["Error", error.type], ["HTTP status", error.status]]),
    logs)];
}
