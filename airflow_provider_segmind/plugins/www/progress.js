// The tab while a request is on its way, and after it has failed.

import { api, appLink, el, idsOf, isObject, median, number, seconds, text, xcom } from "./common.js";
import { card, facts, heading, notice } from "./parts.js";
import { isBatch, isRequestId, modelOf } from "./requests.js";

const COMPARED = 12; // earlier requests that tell how long a model takes

function doing(ti) {
  const kind = ti.trigger?.classpath?.split(".").pop() ?? "";
  if (ti.state === "deferred") {
    return kind === "SegmindRateLimitTrigger"
      ? ["Waiting for the rate limit", "Nothing is submitted yet; the task comes back when it is its turn."]
      : ["Waiting for Segmind", "The task sleeps in the triggerer and holds no worker."];
  }
  if (ti.state === "running") return ["At work", "A worker submits the request, waits for it, or stores what came out."];
  if (ti.state === "up_for_reschedule") return ["Waiting for Segmind", "The next look comes by itself."];
  return ["Not started yet", "Airflow has not given this task to a worker."];
}

/** How long requests of this model took lately (median, seconds); null where none is known. */
async function usual(ti) {
  const model = modelOf(ti);
  try {
    const { task_instances: earlier } = await api("/dags/~/dagRuns/~/taskInstances",
      { operator: ti.operator, state: "success", order_by: "-start_date", limit: COMPARED, cursor: "" });
    const results = await Promise.all(earlier.map((one) => xcom(idsOf(one)).catch(() => undefined)));
    return median(results.filter((one) => isObject(one) && one.model === model && !isBatch(one) && one.skipped !== true)
      .map((one) => number(one.metrics?.total_time)));
  } catch { return null; } // it is a comfort, no more
}

/** The waiting view: its nodes, how to bring it up to date, and its clock, which goes as long as it is shown. */
export async function waiting(first) {
  const title = el("h2");
  const said = el("p", { class: "quiet" });
  const clock = el("b", { class: "clock" });
  const expected = el("span", { class: "quiet" });
  const fill = el("span");
  const bar = el("div", { class: "progress", role: "progressbar", "aria-label": "Time passed of the usual time" }, fill);
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
    const [name, words] = doing(ti);
    if (title.textContent !== name) [title.textContent, said.textContent] = [name, words];
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
    nodes: [heading(first), card(el("div", { role: "status" }, title, said), bar, el("p", { class: "times" }, clock, expected), request)],
    update,
    tick,
  };
}

/** The failed view: the error's own words, and what to do. */
export function failed(ti, error) {
  const logs = appLink("task", idsOf(ti), { class: "button" }, "Open the logs");
  const again = ti.state === "up_for_retry" ? "Airflow tries it again by itself." : "";
  if (!isObject(error)) {
    const why = ti.state === "upstream_failed" ? "A task before this one failed, so it did not run."
      : "The task failed, and left no error of Segmind's here. Its logs say why.";
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
