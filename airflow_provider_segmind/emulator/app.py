"""The routes: from an HTTP call to its response."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import admin, history, responses, samples
from .catalogue import RefusedError
from .jobs import COMPLETED, FAILED, PROCESSING, output_fields, result_body, status_body, submitted_body
from .pixels import CONTENT_TYPES, Product, WorkFailedError, fetch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from .control import Control
    from .faults import Fault
    from .jobs import Job
    from .state import State

    Endpoint = Callable[[State, Request, Fault | None], Awaitable[Response]]

_EXTENSIONS = {content_type: extension for extension, content_type in CONTENT_TYPES.items()}
_COUNTERS = {
    "submit": "submits_attempted",
    "sync": "sync_calls",
    "status": "polls",
    "result": "results",
    "credits": "credits_reads",
    "upload": "uploads",
    "history": "history_reads",
    "output": "downloads",
}


def build(control: Control) -> responses.Dated:
    """Return the application: gateway, upload host, history host and image host on one address."""

    def route(path: str, verb: str, name: str, endpoint: Endpoint) -> Route:
        return Route(path, partial(_serve, control, name, endpoint), methods=[verb])

    routes = [
        Route("/", _root),
        route("/v1/get-user-credits", "GET", "credits", _credits),
        route("/v2/requests/{request_id}/status", "GET", "status", _status),
        route("/v2/requests/{request_id}", "GET", "result", _result),
        route("/v1/requests/{request_id}", "GET", "result", _result),
        route("/workflows/request/{request_id}", "GET", "result", _result),
        route("/v2/{slug}", "POST", "submit", _submit),
        route("/v1/{slug}", "POST", "sync", _sync),
        route("/workflows/v2/{slug}", "POST", "submit", _submit_workflow),
        route("/workflows/{slug}", "POST", "submit", _submit_workflow),
        route("/upload-asset", "POST", "upload", _upload),
        route("/inference-request/request-history", "GET", "history", _history_page),
        route("/inference-request/request-history/{request_id}", "GET", "history", _history_row),
        route("/outputs/{name}", "GET", "output", _output),
        route("/assets/{name}", "GET", "asset", _asset),
        route("/samples/{name}", "GET", "asset", _sample),
    ]
    gateway = Starlette(
        routes=[*admin.routes(control), *routes],
        exception_handlers={404: partial(_no_route, control), 405: _wrong_verb},
    )
    return responses.Dated(gateway, partial(_now, control))


def _now(control: Control) -> float:
    return control.state.clock.now()  # a reset replaces the state


async def _root(request: Request) -> Response:
    """Serve clients that only connect (``HEAD /``), without faults and counters."""
    return Response()


async def _serve(control: Control, name: str, endpoint: Endpoint, request: Request) -> Response:
    """Count the call, apply a fault, call the endpoint, and turn a refusal into a response."""
    await request.body()  # a response that is sent before the body is read may reset the connection
    state = control.state
    model = _model_of(state, request)
    if name in _COUNTERS:
        state.count(_COUNTERS[name], model)
    if name == "sync":
        state.count("submits_attempted", model)
    if name in ("output", "asset") and _carries_key(request):
        state.count("keys_seen_on_downloads")
    fault = state.faults.take(name, model)
    if fault is not None:
        state.count("faults_fired")
        early = await responses.before(fault)
        if early is not None:
            return early
    try:
        response = await endpoint(state, request, fault)
    except RefusedError as refused:
        response = responses.refusal(refused.status, refused.message, refused.headers)
    return response if fault is None else responses.after(fault, response)


def _model_of(state: State, request: Request) -> str | None:
    slug: str | None = request.path_params.get("slug")
    if slug is not None:
        return slug
    name = request.path_params.get("request_id") or request.path_params.get("name", "").rpartition(".")[0]
    job = state.jobs.get(name)
    return None if job is None else job.model.slug


def _carries_key(request: Request) -> bool:
    return "x-api-key" in request.headers or "authorization" in request.headers


async def _no_route(control: Control, request: Request, error: Exception) -> Response:
    if _carries_key(request):
        control.state.count("keys_seen_elsewhere")
    return responses.refusal(404, "Not found")


async def _wrong_verb(request: Request, error: Exception) -> Response:
    return responses.refusal(405, "Method not allowed", getattr(error, "headers", None))


def _authenticate(state: State, request: Request, *, limited: bool = False) -> str:
    key = request.headers.get("x-api-key") or request.headers.get("authorization")
    owner = state.authenticate(key)  # a bearer token is not a key, so it is refused as an invalid key
    if limited:
        state.limit_rate(owner)
    return owner


async def _json_object(request: Request) -> dict[str, Any]:
    """Return the body; 406 if its content type is not JSON, 400 if it is not a JSON object."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(406, "Invalid content type")
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise RefusedError(400, "Invalid JSON in request body") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "Invalid request body: expected a JSON object")
    return body


async def _submitted(state: State, request: Request, fault: Fault | None, *, workflow: bool = False) -> Job:
    owner = _authenticate(state, request, limited=True)
    body = await _json_object(request)
    slug = request.path_params["slug"]
    model = state.catalogue.workflow(slug) if workflow else state.catalogue.find(slug)
    user_agent = request.headers.get("user-agent", "")
    return state.submit(model, body, owner, fault=fault, workflow=workflow, user_agent=user_agent)


async def _submit(state: State, request: Request, fault: Fault | None) -> Response:
    return JSONResponse(submitted_body(state.base_url, await _submitted(state, request, fault)))


async def _submit_workflow(state: State, request: Request, fault: Fault | None) -> Response:
    job = await _submitted(state, request, fault, workflow=True)
    return JSONResponse(submitted_body(state.base_url, job))


async def _sync(state: State, request: Request, fault: Fault | None) -> Response:
    """Submit a job and hold the call until the job ends."""
    job = await _submitted(state, request, fault)
    while not job.is_over(state.clock.now()) and not await request.is_disconnected():
        remaining = job.ends_at - state.clock.now()
        await asyncio.sleep(min(max(remaining, 0.005), 0.05))  # short: the clock may be moved meanwhile
    state.finish_due_jobs()
    error = job.error()
    if not job.finished:
        return Response()  # the client has disconnected
    if error is not None:
        raise RefusedError(422, error)
    product = job.work.result()
    headers = {
        "x-cost": str(job.model.cost),
        "x-remaining-credits": str(job.remaining_credits),
        "x-generation-time": str(job.metrics(state.clock.now())["inference_time"]),
        "x-seed-value": str(job.seed or 0),
        "x-request-id": job.request_id,
    }
    if product.content_type.startswith("text/"):
        return JSONResponse(output_fields(state.base_url, job), headers=headers)
    data = b"" if job.output_hidden else product.data
    return Response(data, media_type=product.content_type, headers=headers)


async def _status(state: State, request: Request, fault: Fault | None) -> Response:
    owner = _authenticate(state, request, limited=state.settings.rate_limit_polls)
    job = state.find(request.path_params["request_id"], owner)
    job.polls += 1
    return _job_response(status_body(job, state.clock.now()), fault)


async def _result(state: State, request: Request, fault: Fault | None) -> Response:
    owner = _authenticate(state, request, limited=state.settings.rate_limit_polls)
    job = state.find(request.path_params["request_id"], owner)
    job.results += 1
    return _job_response(result_body(state.base_url, job, state.clock.now()), fault)


def _job_response(body: dict[str, Any], fault: Fault | None) -> Response:
    """Return a job's body, changed by a fault of this response; FAILED has the HTTP status 422."""
    kind = "" if fault is None else fault.kind
    argument = "" if fault is None else fault.argument
    metrics = {name: body["metrics"][name] for name in ("queue_time", "inference_time", "total_time")}
    if kind == "stuck":
        body = {"request_id": body["request_id"], "status": PROCESSING, "metrics": metrics}
    elif kind == "unknown_status":
        body = {"request_id": body["request_id"], "status": argument or "PAUSED", "metrics": metrics}
    elif kind == "fail":
        message = argument or "Inference failed"
        body = {"request_id": body["request_id"], "status": FAILED, "metrics": metrics, "error": message}
    elif kind == "no_output" and body["status"] == COMPLETED:
        body = {key: value for key, value in body.items() if key not in ("output", "images", "video")}
    return JSONResponse(body, 422 if body["status"] == FAILED else 200)


async def _credits(state: State, request: Request, fault: Fault | None) -> Response:
    _authenticate(state, request)
    if not state.settings.balance_record:
        raise RefusedError(404, "No credits found for the user")
    state.finish_due_jobs()
    return JSONResponse({"credits": state.balance, "free-credits": state.settings.free_credits})


async def _upload(state: State, request: Request, fault: Fault | None) -> Response:
    _authenticate(state, request)
    data_urls = (await _json_object(request)).get("data_urls")
    if not isinstance(data_urls, list) or not data_urls:
        raise RefusedError(400, "Missing required field: data_urls")
    urls = [state.keep_file(_file_of(data_url)) for data_url in data_urls]
    if state.settings.upload_key == "urls":
        return JSONResponse({"urls": urls})
    return JSONResponse({"file_urls": urls, "message": "Files uploaded successfully"})


def _file_of(data_url: Any) -> Product:
    if not isinstance(data_url, str) or not data_url.startswith("data:"):
        raise RefusedError(400, "Invalid data URL")
    content_type = data_url[5:].partition(",")[0].partition(";")[0] or "application/octet-stream"
    extension = _EXTENSIONS.get(content_type, content_type.rpartition("/")[2].partition("+")[0] or "bin")
    try:
        return Product(fetch(data_url, timeout=0), content_type, extension)
    except WorkFailedError as error:
        raise RefusedError(400, "Invalid data URL") from error


async def _history_page(state: State, request: Request, fault: Fault | None) -> Response:
    owner = _authenticate(state, request)
    return JSONResponse(history.page(state, owner, request.query_params))


async def _history_row(state: State, request: Request, fault: Fault | None) -> Response:
    owner = _authenticate(state, request)
    return JSONResponse(history.one(state, owner, request.path_params["request_id"]))


async def _output(state: State, request: Request, fault: Fault | None) -> Response:
    product = state.output(request.path_params["name"])
    return Response(product.data, media_type=product.content_type)


async def _asset(state: State, request: Request, fault: Fault | None) -> Response:
    product = state.files.get(request.path_params["name"])
    if product is None:
        raise RefusedError(404, "File not found")
    return Response(product.data, media_type=product.content_type)


async def _sample(state: State, request: Request, fault: Fault | None) -> Response:
    name = request.path_params["name"]
    if name not in samples.CONTENT_TYPES:
        raise RefusedError(404, "File not found")
    return Response(samples.read(name), media_type=samples.CONTENT_TYPES[name])
