"""
A call is data: method, path, body, whether it may be replayed, and how to read each response.

One function per operation of the API; :mod:`airflow_provider_segmind.client` sends any of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar

from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindConnectionError,
    SegmindError,
    SegmindMalformedResponseError,
    SegmindRateLimitedError,
    SegmindUnknownOutcomeError,
)
from airflow_provider_segmind.protocol.models import check_slug
from airflow_provider_segmind.protocol.responses import Response, error_for, number, text_of
from airflow_provider_segmind.protocol.urls import url_of
from airflow_provider_segmind.protocol.wire import (
    REQUEST_ID,
    Credits,
    HistoryPage,
    Metrics,
    RequestState,
    RequestStatus,
    Result,
    SubmittedRequest,
    SyncResult,
    read_history,
    read_id,
    read_metrics,
    read_result,
    read_state,
    status_name,
)

T = TypeVar("T")


class Service(StrEnum):
    """The host of a connection that a call goes to."""

    GATEWAY = "gateway"
    UPLOAD = "upload"
    HISTORY = "history"


@dataclass(frozen=True)
class Call(Generic[T]):
    """
    One call of the API.

    :param name: the operation, for logs and errors.
    :param method: HTTP method.
    :param path: path below the service's host.
    :param read: turns a 2xx response (or one that reports FAILED) into the result, or raises.
    :param about: what a 404 is about: the model, the request or the account.
    :param body: JSON body, if there is one.
    :param query: query parameters, if there are any.
    :param service: the host of the connection (default: the gateway).
    :param replayable: True if sending it twice costs nothing (default True).
    :param request_id: the request that it is about, if there is one.
    """

    name: str
    method: Literal["GET", "POST"]
    path: str
    read: Callable[[Response], T]
    about: Literal["model", "request", "account"] = "account"
    body: Mapping[str, Any] | None = None
    query: Mapping[str, Any] | None = None
    service: Service = Service.GATEWAY
    replayable: bool = True
    request_id: str | None = None

    def parse(self, response: Response) -> T:
        """Return the result of a 2xx response; raise the error that any other status means."""
        if 200 <= response.status < 300:
            return self.read(response)
        if _announces_failed(self, response):
            return self.read(response)
        error = error_for(response, about=self.about, request_id=self.request_id)
        if not self.replayable and response.status >= 500:
            error.next_step = _PERHAPS_BILLED.format(advice=error.next_step)
        raise error

    def may_replay(self, error: SegmindError) -> bool:
        """
        Return whether this call may be sent again after an error, without a search in the request history.

        The money rule: a call that costs nothing is replayed after every retryable error. A submit is replayed only if
        Segmind cannot have accepted it: nothing was sent, or the response was a 429. After a 5xx Segmind may have
        accepted it, so ``execution/engine.py`` searches the request history first.
        """
        if self.replayable:
            return error.retryable
        return isinstance(error, SegmindConnectionError | SegmindRateLimitedError)

    def unresponded(self, reason: str, *, address: str, sent: bool) -> SegmindError:
        """
        Return the error for a response that did not arrive.

        :param reason: the transport's message.
        :param address: where the call went.
        :param sent: False if the call certainly did not reach the gateway.
        """
        cls = SegmindConnectionError if self.replayable or not sent else SegmindUnknownOutcomeError
        return cls(f"{self.name} at {address}: {reason}", request_id=self.request_id)


#: Next step after a 5xx to a call that Segmind bills (observed: a 504 after acceptance).
_PERHAPS_BILLED = (
    "{advice} Segmind may have accepted and billed the request: check the request history before you send it again. "
    "The operators do that themselves."
)


def _announces_failed(call: Call[Any], response: Response) -> bool:
    """
    Return whether a response reports FAILED: HTTP 422 with that status in its body (source: model pages).

    The HTTP status alone is not enough: a firewall or a proxy may also respond with 422, and a request that FAILED is
    submitted again.
    """
    if call.about != "request" or not 400 <= response.status < 500:
        return False
    body = response.json()
    return isinstance(body, dict) and status_name(body.get("status")) == RequestState.FAILED


def _path_id(request_id: str) -> str:
    """Return the id, validated for a path. No address comes from a response: the key goes to our hosts only."""
    if not isinstance(request_id, str) or not REQUEST_ID.fullmatch(request_id):
        raise SegmindConfigError(
            f"{str(request_id)[:60]!r} is not a Segmind request id: use the id from a task's log or XCom"
        )
    return request_id


def submit(slug: str, body: Mapping[str, Any], *, workflow: bool = False) -> Call[SubmittedRequest]:
    """Submit a v2 request. It is billed and not replayable: Segmind has no idempotency key."""

    def read(response: Response) -> SubmittedRequest:
        found = response.json()
        request_id = read_id(found.get("request_id")) if isinstance(found, dict) else None
        if request_id is None:
            raise SegmindMalformedResponseError(
                f"the response to a submit of {slug} has no request_id: {response.describe()}",
                status=response.status,
                next_step=SegmindUnknownOutcomeError.advice,
                retryable=False,
            )
        state = RequestState.PROCESSING if status_name(found.get("status")) == "PROCESSING" else RequestState.QUEUED
        return SubmittedRequest(request_id=request_id, status=state)

    path = f"/{'workflows/' if workflow else ''}v2/{check_slug(slug)}"
    return Call("submit", "POST", path, read, about="model", body=body, replayable=False)


def get_status(request_id: str) -> Call[RequestStatus]:
    """Get the status of a request, without its output."""

    def read(response: Response) -> RequestStatus:
        body = response.json_object("the status", request_id=request_id)
        state = read_state(body.get("status"), request_id=request_id, status=response.status)
        return RequestStatus(
            request_id=request_id,
            state=state,
            metrics=read_metrics(body) if state is RequestState.COMPLETED else Metrics(),
            error=text_of({**body, "status": None}) if state is RequestState.FAILED else "",
        )

    path = f"/v2/requests/{_path_id(request_id)}/status"
    return Call("get_status", "GET", path, read, about="request", request_id=request_id)


def get_result(request_id: str, *, model: str = "") -> Call[Result]:
    """Get the result of a request. FAILED raises; an unfinished request is a malformed response."""

    def read(response: Response) -> Result:
        body = response.json_object("the result", request_id=request_id)
        state = read_state(body.get("status"), request_id=request_id, status=response.status)
        if state is RequestState.FAILED:
            raise RequestStatus(request_id=request_id, state=state, error=text_of(body)).failure()
        if state is not RequestState.COMPLETED:
            raise SegmindMalformedResponseError(
                f"the request is not COMPLETED but {state}",
                request_id=request_id,
                next_step="Get the result again when the status is COMPLETED.",
            )
        return read_result(body, request_id=request_id, model=model)

    path = f"/v2/requests/{_path_id(request_id)}"
    return Call("get_result", "GET", path, read, about="request", request_id=request_id)


def run_sync(slug: str, body: Mapping[str, Any]) -> Call[SyncResult]:
    """Run a model with the blocking v1 call, which Segmind only maintains. It is billed and not replayable."""

    def read(response: Response) -> SyncResult:
        if not response.content:
            raise SegmindMalformedResponseError("the response has no content", status=response.status, retryable=False)
        header = response.headers.get
        return SyncResult(
            content=response.content,
            content_type=(header("content-type") or "application/octet-stream").split(";")[0].strip(),
            request_id=header("x-request-id"),
            cost=number(header("x-cost")),
            remaining_credits=number(header("x-remaining-credits")),
            generation_time=number(header("x-generation-time")),
            seed=header("x-seed-value"),
        )

    return Call("run_sync", "POST", f"/v1/{check_slug(slug)}", read, about="model", body=body, replayable=False)


def get_credits() -> Call[Credits]:
    """Get the balance. It costs nothing, so it is also the cheapest check of a key."""

    def read(response: Response) -> Credits:
        body = response.json_object("the balance")
        if (paid := number(body.get("credits"))) is None:
            raise SegmindMalformedResponseError(
                f"the response has no balance: {response.describe()}", status=response.status
            )
        return Credits.model_validate({**body, "credits": paid})

    return Call("get_credits", "GET", "/v1/get-user-credits", read)


def upload(data_uris: Sequence[str]) -> Call[list[str]]:
    """Upload files given as data URIs, and get their URLs in the same order. It costs nothing, so it is replayable."""

    def read(response: Response) -> list[str]:
        body = response.json_object("the response to the upload")
        # The documentation names "urls", the vendor's own SDK reads "file_urls".
        listed = body.get("file_urls") or body.get("urls")
        urls = [url_of(url) for url in listed] if isinstance(listed, list) else []
        if len(urls) != len(data_uris) or None in urls:
            raise SegmindMalformedResponseError(
                f"{len(data_uris)} file(s) were uploaded, but the response does not have as many URLs: "
                f"{response.describe()}",
                status=response.status,
            )
        return [url for url in urls if url]

    body = {"data_urls": list(data_uris)}
    return Call("upload", "POST", "/upload-asset", read, body=body, service=Service.UPLOAD)


def get_history(
    request_id: str | None = None,
    *,
    model: str | None = None,
    status: Literal["COMPLETED", "FAILED", "PENDING"] | None = None,
    from_date: date | None = None,
    to_date: date | None = None,
    page: int = 1,
    per_page: int = 20,
) -> Call[HistoryPage]:
    """
    List the account's requests, newest first, or get one request of any age.

    Dates are days; without them Segmind takes the last seven (source: SDK ``segmind`` 1.3.0).
    """

    def read(response: Response) -> HistoryPage:
        page = read_history(response.json(unusable=math.nan))
        if page is None:
            raise SegmindMalformedResponseError(
                f"the request history is not a list of requests: {response.describe()}", status=response.status
            )
        return page

    path = "/inference-request/request-history"
    if request_id is not None:
        path += f"/{_path_id(request_id)}"
        return Call("get_history", "GET", path, read, about="request", service=Service.HISTORY, request_id=request_id)
    query = {
        "page": page,
        "per_page": per_page,
        "sort_by": "model_created",
        "sort_order": "desc",
        "model_name": model,
        "status": status,
        "from_date": from_date.isoformat() if from_date else None,
        "to_date": to_date.isoformat() if to_date else None,
    }
    known = {name: value for name, value in query.items() if value is not None}
    return Call("get_history", "GET", path, read, query=known, service=Service.HISTORY)
