"""
The route that serves previews, read-only. The API server imports it at the first request.

The dependencies of Airflow's own API authenticate the user and check the permission to read this DAG's XComs. A request
names a task instance, never an address: the address comes from that task's XCom. Since any task may push any XCom, a
file is served only if it is a preview that was made in this DAG, and the one that the XCom names
(``protocol/preview_reference.py``). Everything else is "not found", without a reason: the reason goes to the server's
log only, so that a client cannot use it to explore the storage.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from airflow.utils.session import create_session
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.protocol.preview_reference import Reference, Which, is_genuine, reference_in
from airflow_provider_segmind.runtime.settings import serves_previews
from airflow_provider_segmind.storage.paths import object_path, storage_errors, uncached_fs

log = logging.getLogger(__name__)

#: Previews that a user may request at once, and then each second; for each process of the API server.
_BURST, _PER_SECOND = 300, 10.0
_MAX_USERS = 10_000
#: Storage is read in threads of our own, so that a store that hangs blocks none of Airflow's threads.
_READERS = ThreadPoolExecutor(4, thread_name_prefix="segmind-previews")
_TIMEOUT = 20.0  # seconds for one read
_MAX_ID = 250  # characters, as in Airflow's database
_HEADERS = {
    "Cache-Control": "private, no-cache",  # the browser keeps and revalidates it: permissions and runs change
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_NOT_FOUND = "No preview"


class Budget:
    """
    Limit the previews that each user may request, with a token bucket.

    :param burst: tokens in a full bucket.
    :param per_second: tokens that are added each second.
    """

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst, self._per_second = burst, per_second
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, user: str, now: float) -> float:
        """Take one token and return 0, or return the seconds until there is one."""
        left, at = self._left.pop(user, (float(self._burst), now))
        left = min(float(self._burst), left + (now - at) * self._per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._left[user] = (left if wait else left - 1, now)
        if len(self._left) > _MAX_USERS:
            self._left.popitem(last=False)
        return wait


_budget = Budget(_BURST, _PER_SECOND)
Identifier = Annotated[str, Query(min_length=1, max_length=_MAX_ID)]
app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)


@app.exception_handler(RequestValidationError)
async def invalid_query(request: Request, error: RequestValidationError) -> JSONResponse:
    """Return "not found" for an invalid query."""
    return JSONResponse({"detail": _NOT_FOUND}, 404)


def only_if_on() -> None:
    """Return "not found" unless ``[segmind] serve_previews`` is on."""
    if not serves_previews():
        raise HTTPException(404, _NOT_FOUND)


@app.get(
    "/preview",
    dependencies=[Depends(only_if_on), Depends(requires_access_dag("GET", DagAccessEntity.XCOM))],
    response_class=Response,
)
async def preview(
    request: Request,
    user: GetUserDep,
    dag_id: Identifier,
    run_id: Identifier,
    task_id: Identifier,
    which: Which,
    map_index: Annotated[int, Query(ge=-1)] = -1,
    n: Annotated[int, Query(ge=0, le=999)] = 0,
) -> Response:
    """
    Return a preview of an object that a task instance has stored.

    :param map_index: -1 if the task is not mapped (default).
    :param which: ``before`` (the input) or ``after`` (the output).
    :param n: index of the stored object, from 0 (default).
    """
    if wait := _budget.take(str(user.get_id()), time.monotonic()):
        raise HTTPException(429, "Too many previews at once", {"Retry-After": str(math.ceil(wait))})
    value = await run_in_threadpool(_returned, dag_id, run_id, task_id, map_index)
    reference = reference_in(value, n, which)
    if reference is None:
        raise HTTPException(404, _NOT_FOUND)
    headers = {**_HEADERS, "ETag": f'"{reference.sha256}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    reading = asyncio.get_running_loop().run_in_executor(_READERS, _read, reference, dag_id)
    try:
        content = await asyncio.wait_for(reading, _TIMEOUT)
    except TimeoutError:
        log.warning("No preview of %s: the storage did not respond within %g s", reference.uri, _TIMEOUT)
        raise HTTPException(503, "The storage does not respond", {"Retry-After": "30"}) from None
    if content is None:
        raise HTTPException(404, _NOT_FOUND)
    return Response(content, media_type="image/webp", headers=headers)


def _returned(dag_id: str, run_id: str, task_id: str, map_index: int) -> Any:
    """Return a task instance's result as the database has it: no object is deserialized, no XCom backend is called."""
    query = XComModel.get_many(
        run_id=run_id, key=XCOM_RETURN_KEY, task_ids=task_id, dag_ids=dag_id, map_indexes=map_index, limit=1
    )
    with create_session() as session:
        value = session.scalar(query.with_only_columns(XComModel.value))
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _read(reference: Reference, dag_id: str) -> bytes | None:
    """Read a preview with the connection that its address names; return None if it is not a preview of this DAG."""
    try:
        path = object_path(reference.uri, None)
        with storage_errors(path):
            fs = uncached_fs(path)
            info = fs.info(path.path)
            content = None
            if info.get("type") == "file" and info.get("size") == reference.bytes:  # never a pipe or a device
                content = fs.cat_file(path.path, start=0, end=reference.bytes)
    except SegmindError as error:
        log.warning("No preview: %s", error.detail)
        return None
    if content is None or not is_genuine(content, reference, dag_id):
        log.warning("No preview: %s is not the one that DAG %s has stored", reference.uri, dag_id)
        return None
    return bytes(content)
