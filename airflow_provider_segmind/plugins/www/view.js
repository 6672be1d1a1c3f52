// The tab "Upscaled" on a task instance: what came out, or why nothing has yet.

import { api, bytes, count, credits, el, instancePath, isObject, number, previewUrl, query,
  seconds, show, text, webLink, xcom } from "./common.js";
import { compare, load, single, size } from "./compare.js";
import { inputOf, isBatch, isOurs, isPicture, isRequestId, isResult, modelOf, outputsOf, parametersOf, stage } from "./requests.js";
import { batch, card, facts, heading, notice, siblings, tiles } from "./parts.js";
import { failed, waiting } from "./progress.js";

const page = document.getElementById("page");
const given = query();
const ids = { ...given, map_index: /^\d+$/.test(given.map_index ?? "") ? Number(given.map_index) : -1 };

look();

async function look() {
  try {
    await draw(await instance());
  } catch (error) {
    const why = { 401: "Your session is over: log in again.", 403: "You may not read this task instance.",
      404: "This task instance is not there (any more)." }[error.status];
    show(page, notice(why ?? "Airflow did not answer as expected.", why ? "" : text(error.message)));
  }
}

let siblingCount; // of a mapped task

async function instance() {
  try {
    const ti = await api(ids.map_index < 0 ? instancePath(ids) : `${instancePath(ids)}/${ids.map_index}`);
    if (ids.map_index >= 0) siblingCount ??= (await api(`${instancePath(ids)}/listMapped`, { limit: 1 })).total_entries;
    return { ...ti, siblings: siblingCount };
  } catch (error) {
    if (error.status !== 404 || ids.map_index >= 0) throw error;
    const { task_instances: mapped } = await api(`${instancePath(ids)}/listMapped`, { limit: 100 });
    if (!mapped.length) throw error;
    show(page, notice("This task is mapped.", "Choose one of its instances:"), siblings(mapped));
    return null;
  }
}

async function draw(ti) {
  if (!ti) return;
  const where = stage(ti);
  if (where === "waiting" && isOurs(ti)) return watch(ti);
  const value = where === "done" || !isOurs(ti) ? await xcom(ids) : undefined;
  if (isBatch(value)) return show(page, ...batch(ti, value));
  if (isResult(value)) return done(ti, value);
  if (!isOurs(ti)) return show(page, notice("Nothing to show here.", "This tab is for tasks that run a Segmind model."));
  if (where === "failed" || where === "retry") {
    show(page, ...failed(ti, await xcom(ids, "segmind_error")), await onlyBefore(ti));
    return where === "retry" ? draw(await next(ti)) : undefined;
  }
  if (where === "skipped") return show(page, heading(ti), notice("This task did not run.", "Airflow skipped it."));
  if (isRequestId(value)) {
    return show(page, heading(ti), notice("Submitted.", "This task does not wait for its request; another one does."),
      card(facts([["Request id", value], ["Model", modelOf(ti)]])));
  }
  const said = value === undefined ? "The task handed on no result (do_xcom_push), so there is nothing to show."
    : "The result is not readable here: a custom XCom backend keeps it elsewhere.";
  return show(page, heading(ti), notice("Nothing to show.", said));
}

// --- waiting ------------------------------------------------------------------------------------------------------

async function watch(first) {
  const view = await waiting(first);
  show(page, ...view.nodes, await onlyBefore(first));
  view.tick();
  return draw(await next(first, view.update));
}

/** Look until the task instance is at another stage; each look may bring the page up to date. */
async function next(first, update = () => {}) {
  for (let looks = 0; ; looks += 1) {
    await new Promise((resolve) => setTimeout(resolve, looks < 30 ? 2000 : 5000));
    if (document.hidden) continue; // nobody sees it
    let ti;
    try { ti = await instance(); } catch (error) {
      if (error.status) throw error;
      continue; // the network may come back
    }
    if (stage(ti) !== stage(first)) return ti;
    await update(ti);
  }
}

async function onlyBefore(ti) {
  const { url } = inputOf(ti);
  if (!url) return null;
  try { return card(single(side("Before", await load(url, "The picture before")))); } catch { return null; }
}

// --- done ----------------------------------------------------------------------------------------------------------

function side(name, img, known, preview) {
  const [width, height] = known ?? (preview ? [] : [img.naturalWidth, img.naturalHeight]);
  return { name, img, small: Boolean(preview), pixels: width ? size(width, height) : "", dims: width ? [width, height] : null };
}

/** A picture, from the preview that was stored, else from its public address; else why there is none. */
async function fetched(name, preview, url, n, known) {
  const alt = `The picture ${name.toLowerCase()}`;
  let denied = "";
  if (isObject(preview)) {
    try { return side(name, await load(await previewUrl(ids, name.toLowerCase(), n), alt), known, true); } catch (error) {
      denied = ` The preview is not served: ${text(error.message)}`;
    }
  }
  if (!url) return { missing: `${name}: it lies in private storage, and there is no preview of it: they are written where [segmind] serve_previews is on.${denied}` };
  try { return side(name, await load(url, alt), known); } catch {
    return { missing: `${name}: the browser cannot load it. Outputs are kept for 7 days; a page over https shows no picture over http.${denied}` };
  }
}

async function done(ti, result) {
  const outputs = outputsOf(result);
  const stageBox = el("div", { class: "show" });
  const numbers = el("div");
  const told = el("div", { class: "columns" });
  const choices = outputs.length > 1 ? el("div", { class: "choices", role: "group", "aria-label": "Outputs" },
    outputs.map((output) => el("button", { type: "button", class: "toggle", onclick: () => choose(output) },
      text(output.stored?.name ?? `Output ${output.n + 1}`)))) : null;
  async function choose(output) {
    choices?.childNodes.forEach((button, n) => button.setAttribute("aria-pressed", n === output.n));
    const { width, height } = output.stored ?? {};
    const known = number(width) && number(height) ? [width, height] : null;
    if (!isPicture(output)) {
      stageBox.replaceChildren(notice(`The output is ${text(output.type)}, no picture.`, "It is told below where it lies."));
    }
    const input = inputOf(ti);
    const [before, after] = isPicture(output) ? await Promise.all([
      fetched("Before", output.preview.before, input.url, output.n, null),
      fetched("After", output.preview.after, output.url, output.n, known),
    ]) : [{}, { dims: known }];
    const sides = [before, after].filter((one) => one.img);
    if (isPicture(output)) {
      const missing = [before, after].filter((one) => one.missing).map((one) => el("p", { class: "missing" }, one.missing));
      stageBox.replaceChildren(...(sides.length === 2 ? [compare(before, after)] : sides.map(single)), ...missing);
    }
    numbers.replaceChildren(tiles(pixels(before, after), ...measures(result, output)));
    told.replaceChildren(...details(ti, result, output));
  }
  if (outputs.length) await choose(outputs[0]);
  else told.replaceChildren(...details(ti, result, null));
  show(page, heading(ti, result), choices, outputs.length ? el("div", { class: "split" }, card(stageBox), numbers) : null, told);
}

function pixels(before, after) {
  if (!after.dims) return ["Pixels", null];
  const shown = size(...after.dims);
  if (!before.dims) return ["Pixels", shown];
  return ["Pixels", shown, `from ${size(...before.dims)}, × ${credits(Math.round((after.dims[0] / before.dims[0]) * 100) / 100)}`];
}

function measures(result, output) {
  const found = isObject(result.metrics) ? result.metrics : {};
  const told = (name, words) => (number(found[name]) === null ? null : words(found[name]));
  const left = told("remaining_credits", credits);
  return [
    ["File", output.bytes === null ? null : bytes(output.bytes), output.type ? text(output.type).replace(/^image\//, "").toUpperCase() : ""],
    ["Cost", told("cost", credits), result.skipped === true ? "skipped: was there already" : "credits"],
    ["Run", told("inference_time", seconds), "at Segmind"],
    ["Queue", told("queue_time", seconds), told("total_time", (total) => `${seconds(total)} in all`) ?? ""],
    ["Balance after", left, "credits"],
  ];
}

function details(ti, result, output) {
  const model = modelOf(ti, result);
  const parameters = Object.entries(parametersOf(ti)).map(([name, value]) => [name, text(value)]);
  const named = isObject(result.named) ? Object.entries(result.named).map(([name, value]) => [name, text(value)]) : [];
  const url = output?.url;
  return [
    card(el("h2", {}, "Request"), facts([
      ["Model", model && webLink(`https://www.segmind.com/models/${encodeURIComponent(model)}`, model)],
      ["Request id", result.request_id],
      ["Status", result.status],
      ["Input", inputOf(ti).url ? webLink(inputOf(ti).url, inputOf(ti).name) : inputOf(ti).name],
      ["Output", url && webLink(url, url)],
      ...named,
    ])),
    parameters.length ? card(el("h2", {}, "Parameters"), facts(parameters)) : null,
    output?.stored ? card(el("h2", {}, "Stored"), facts([
      ["URI", output.stored.uri], ["Type", output.stored.content_type],
      ["Bytes", number(output.stored.bytes) === null ? null : count(output.stored.bytes)],
      ["SHA-256", output.stored.sha256],
    ])) : null,
  ].filter(Boolean);
}
