// What Airflow's API returns about a request: its model, state, input and outputs.

import { isObject, list, number, webUrl } from "./common.js";
// The slug by the operator's name, generated from the table of models. A subclass is recognized by its result.
import { MODEL_OF } from "./models.js";

const OTHERS = ["SegmindRunModelOperator", "SegmindRunWorkflowOperator", "SegmindBatchOperator", "SegmindRequestSensor",
  "SegmindToObjectStorageOperator", "@task.segmind"];
/** The same operators by class, as Airflow's API filters them. */
export const OPERATORS = [...Object.keys(MODEL_OF), ...OTHERS.slice(0, -1), "_SegmindDecoratedOperator"];

export const isOurs = (ti) => ti.operator_name in MODEL_OF || OTHERS.includes(ti.operator_name);
export const isResult = (value) => isObject(value) && typeof value.request_id === "string" && "output" in value;
export const isBatch = (value) => isObject(value) && typeof value.manifest === "string" && number(value.total) !== null;
const REQUEST_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
export const isRequestId = (value) => typeof value === "string" && REQUEST_ID.test(value);

/** Return the state of a task instance as these pages name it. */
export function stage(ti) {
  const state = ti.state;
  if (state === "success") return "done";
  if (["failed", "upstream_failed"].includes(state)) return "failed";
  if (["skipped", "removed"].includes(state)) return "skipped";
  return state === "up_for_retry" ? "retry" : "waiting";
}

export const STAGES = { done: "Done", waiting: "Waiting", retry: "Will retry", failed: "Failed", skipped: "Skipped" };

export function modelOf(ti, result) {
  const rendered = ti.rendered_fields ?? {};
  const found = [result?.model, MODEL_OF[ti.operator_name], rendered.model, rendered.workflow].find((one) => typeof one === "string" && one);
  return found ?? "";
}

/** Return the model's parameters as the task rendered them, without the image, paths and connections. */
export function parametersOf(ti) {
  const { parameters, inputs, ...rendered } = ti.rendered_fields ?? {};
  if (ti.operator_name in MODEL_OF) {
    return Object.fromEntries(Object.entries(rendered).filter(([name]) => !PLACES.includes(name)));
  }
  const given = asObject(parameters ?? inputs); // a workflow has inputs
  return Object.fromEntries(Object.entries(given).filter(([name]) => name !== "image"));
}
const PLACES = ["image", "input_path", "input_conn_id", "destination", "destination_conn_id", "segmind_conn_id", "model"];

function asObject(value) {
  if (typeof value === "string") {
    try { value = JSON.parse(value); } catch { return {}; }
  }
  return isObject(value) ? value : {};
}

/** Return the input: an address to show or null, and its name as text. */
export function inputOf(ti) {
  const rendered = ti.rendered_fields ?? {};
  const given = [rendered.image, rendered.input_path, asObject(rendered.parameters ?? rendered.inputs).image]
    .find((one) => typeof one === "string" && one && one !== "None") ?? "";
  return { url: webUrl(given), name: given };
}

/** Return the outputs of a result, each with its stored object, its previews and its public address. */
export function outputsOf(result) {
  const stored = list(result.stored);
  const files = list(result.outputs);
  const length = Math.max(stored.length, files.length, result.output ? 1 : 0);
  return Array.from({ length }, (_, n) => ({
    n,
    stored: stored[n] ?? null,
    preview: isObject(stored[n]?.preview) ? stored[n].preview : {},
    url: webUrl(files[n]?.url ?? (n === 0 ? result.output : null)),
    type: [stored[n]?.content_type, files[n]?.content_type].find((one) => typeof one === "string") ?? "",
    bytes: number(stored[n]?.bytes) ?? number(files[n]?.file_size),
    name: typeof files[n]?.file_name === "string" ? files[n].file_name : "",
  }));
}

export const isImage = (output) => !output.type || output.type.startsWith("image/");
