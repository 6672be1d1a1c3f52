"""Ways to wait for one request: our trigger, and what a user would write or use instead."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.gateway import Gateway, Job

#: Waits for one request and returns the time of the event, in seconds since the epoch.
Wait = Callable[[Job], Coroutine[Any, Any, float]]

#: Its page states 12.04 s, with which our schedule starts.
MODEL = "bria-increase-resolution"
#: Seconds between two polls at a fixed interval.
INTERVAL = 2.0
#: Timeout of a wait in seconds.
TIMEOUT = 600.0


def ours(gateway: Gateway, model: str = MODEL) -> Wait:
    """Run SegmindRequestTrigger as a triggerer does."""
    os.environ["AIRFLOW_CONN_SEGMIND_DEFAULT"] = gateway.connection
    from airflow_provider_segmind.triggers.segmind import SegmindRequestTrigger

    async def wait(job: Job) -> float:
        trigger = SegmindRequestTrigger(
            request_id=job.request_id,
            segmind_conn_id="segmind_default",
            model=model,
            deadline=job.submitted_at + TIMEOUT,
            submitted_at=job.submitted_at,
        )
        trigger.trigger_id = 1  # with an id, the trigger behaves as in a triggerer
        async for event in trigger.run():
            fired = time.time()
            if event.payload["kind"] != "completed":
                raise RuntimeError(f"the wait ended with {event.payload}")
        return fired

    return wait


def http_sensor_trigger(gateway: Gateway, model: str = MODEL) -> Wait:
    """
    Poke as ``HttpSensorTrigger.run`` of the http provider does: with a new session and ``HttpAsyncHook.run``.

    The trigger itself cannot wait for Segmind, because it fires at the first response that is not a 404, whatever the
    body contains. This function therefore makes its calls and reads the body.
    """
    os.environ["AIRFLOW_CONN_SEGMIND_HTTP"] = json.dumps(
        {"conn_type": "http", "host": gateway.url, "extra": {"x-api-key": gateway.api_key}}
    )
    import aiohttp
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    async def wait(job: Job) -> float:
        trigger = HttpSensorTrigger(
            endpoint=f"v2/requests/{job.request_id}/status", http_conn_id="segmind_http", poke_interval=INTERVAL
        )
        hook = trigger._get_async_hook()
        while True:
            async with aiohttp.ClientSession() as session:
                response = await hook.run(
                    session=session,
                    endpoint=trigger.endpoint,
                    data=trigger.data,
                    headers=trigger.headers,
                    extra_options=trigger.extra_options,
                )
                body = await response.json()
            if body["status"] == "COMPLETED":
                return time.time()
            await asyncio.sleep(trigger.poke_interval)

    return wait


def new_httpx_client(gateway: Gateway, model: str = MODEL) -> Wait:
    """Create a new httpx client for each poll, as published providers do."""
    import httpx

    async def wait(job: Job) -> float:
        url = f"{gateway.url}/v2/requests/{job.request_id}/status"
        while True:
            async with httpx.AsyncClient() as client:
                response = await client.get(url, headers={"x-api-key": gateway.api_key})
            if response.json()["status"] == "COMPLETED":
                return time.time()
            await asyncio.sleep(INTERVAL)

    return wait


CONTENDERS: dict[str, Callable[..., Wait]] = {
    "ours": ours,
    "HttpSensorTrigger": http_sensor_trigger,
    "new httpx client": new_httpx_client,
}
