"""SegmindHook: from an Airflow connection to Segmind, one sync and one ``a…`` method per operation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar
from urllib.parse import urlsplit

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError
from airflow_provider_segmind.hooks.files import data_uri_of, writable
from airflow_provider_segmind.polling.drivers import adrive, drive, steady_clock
from airflow_provider_segmind.polling.rate_limiter import rate_limiter_for
from airflow_provider_segmind.polling.shared_client import SharedClient, durations_of
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.credits import has_no_balance
from airflow_provider_segmind.protocol.models import request_body
from airflow_provider_segmind.protocol.settings import EXTRAS, ConnectionSettings, connection_settings, values_of

if TYPE_CHECKING:
    from airflow_provider_segmind.client import Download, SegmindClient
    from airflow_provider_segmind.client.async_driver import AsyncSegmindClient
    from airflow_provider_segmind.polling.loop import Watch
    from airflow_provider_segmind.protocol.calls import Call
    from airflow_provider_segmind.protocol.events import Event
    from airflow_provider_segmind.protocol.wire import (
        Credits,
        HistoryPage,
        HistoryRow,
        RequestStatus,
        Result,
        SubmittedRequest,
        SyncResult,
    )
    from airflow_provider_segmind.retry_budget import RetryBudget

T = TypeVar("T")

ENVIRONMENT_KEY = "SEGMIND_API_KEY"
ENVIRONMENT_GATEWAY = "SEGMIND_GATEWAY"


class SegmindHook(BaseHook):
    """
    Talk to Segmind with the key and the hosts of an Airflow connection.

    Connection: password = API key; host = gateway (default ``https://api.segmind.com``); the extras are the
    fields of :class:`~airflow_provider_segmind.protocol.settings.ConnectionSettings`. Where there is no such
    connection, or ``segmind_conn_id`` is None, the key in the environment's ``SEGMIND_API_KEY`` serves, as in
    Segmind's own SDK, at the gateway in ``SEGMIND_GATEWAY``, if that is set.

    The HTTP client is made at the first call and kept alive: close it with :meth:`close` or :meth:`aclose`, or use
    the hook in a ``with`` or ``async with``. In an event loop all hooks of a connection share one. Every method raises
    :class:`~airflow_provider_segmind.exceptions.SegmindError`, whose docstring draws the tree.

    :param segmind_conn_id: Airflow connection (default ``segmind_default``), or None for the environment's key.
    :param budget: how patient to be with one call: attempts and seconds.
    """

    conn_name_attr = "segmind_conn_id"
    default_conn_name = "segmind_default"
    conn_type = "segmind"
    hook_name = "Segmind"

    def __init__(
        self,
        segmind_conn_id: str | None = default_conn_name,
        *,
        budget: RetryBudget | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segmind_conn_id = segmind_conn_id
        self.budget = budget
        self._settings: ConnectionSettings | None = None
        self._client: SegmindClient | None = None
        self._shared: SharedClient | None = None

    # --- the connection -------------------------------------------------------------------------------------

    @property
    def settings(self) -> ConnectionSettings:
        """The checked connection; reads it at the first use, with the synchronous API."""
        if self._settings is None:
            values = None
            if self.segmind_conn_id is not None:
                with suppress(AirflowNotFoundException):
                    conn = self.get_connection(self.segmind_conn_id)
                    values = values_of(conn, conn.extra_dejson)
            if values is None:
                values = self._environment_values()
                mask_secret(values["api_key"])
            self._settings = self._checked(values)
        return self._settings

    async def asettings(self) -> ConnectionSettings:
        """Return the checked connection, read with the async API: the synchronous one blocks a triggerer's loop."""
        if self._settings is None:
            self._settings = await self._aread()
        return self._settings

    async def _aread(self) -> ConnectionSettings:
        values = None
        if self.segmind_conn_id is not None:
            with suppress(AirflowNotFoundException):
                conn = await get_async_connection(self.segmind_conn_id, self)
                values = values_of(conn, await get_async_extra_dejson(conn))
        if values is None:
            values = self._environment_values()
            await asyncio.to_thread(mask_secret, values["api_key"])
        return self._checked(values)

    @property
    def _where(self) -> str:
        return f"connection {self.segmind_conn_id!r}" if self.segmind_conn_id else f"environment's {ENVIRONMENT_KEY}"

    def _environment_values(self) -> dict[str, Any]:
        key = os.environ.get(ENVIRONMENT_KEY, "")
        if not key:
            missing = f"there is no {self._where}, and " if self.segmind_conn_id else ""
            raise SegmindConfigError(
                f"{missing}{ENVIRONMENT_KEY} is not set",
                next_step="Add a connection: airflow connections add "
                f"{self.segmind_conn_id or self.default_conn_name} --conn-type segmind --conn-password YOUR_API_KEY",
            )
        if self.segmind_conn_id is not None:
            self.log.info("No %s: using the key in %s", self._where, ENVIRONMENT_KEY)
        return {"api_key": key, "gateway": os.environ.get(ENVIRONMENT_GATEWAY)}

    def _checked(self, values: dict[str, Any]) -> ConnectionSettings:
        if unknown := sorted(set(values) - EXTRAS - {"api_key", "gateway"}):
            self.log.warning("%s has unknown extras: %s (known: %s)", self._where, unknown, sorted(EXTRAS))
        known = {name: value for name, value in values.items() if name not in unknown}
        if not known.get("api_key"):
            raise SegmindConfigError(
                f"{self._where} has no password", next_step="Set its password to the API key of your Segmind account."
            )
        return connection_settings(known, where=self._where)

    def get_conn(self) -> SegmindClient:
        """Return the hook's HTTP client."""
        if self._client is None:
            from airflow_provider_segmind.client import SegmindClient

            self._client = SegmindClient(self.settings, budget=self.budget)
        return self._client

    async def aget_conn(self) -> AsyncSegmindClient:
        """
        Return the async HTTP client that all hooks of this connection share in the running event loop.

        Ask again before the next call: the client is another one once the connection has changed.
        """
        return await self._lease().client()

    def _lease(self) -> SharedClient:
        if self._shared is None:
            self._shared = SharedClient(self.segmind_conn_id, self._aread)
        return self._shared

    async def _asend(self, call: Call[T], budget: RetryBudget | None = None) -> T:
        return await (await self.aget_conn()).send(call, budget=budget or self.budget)

    def close(self) -> None:
        """Close the HTTP client."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def aclose(self) -> None:
        """Give the async HTTP client back; the last hook that has it closes it."""
        if self._shared is not None:
            await self._shared.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def test_connection(self) -> tuple[bool, str]:
        """Ask for the balance: Airflow's "Test connection"."""
        try:
            with self:
                found = self.get_credits()
            gateway = urlsplit(self.settings.gateway).hostname
        except SegmindError as error:
            if has_no_balance(error):
                return True, f"The key works; Segmind has no balance for it yet ({error.detail})."
            return False, str(error)
        free = f", {found.free_credits:g} of them free" if found.free_credits else ""
        return True, f"The key works at {gateway}: {found.total:g} credits left{free}."

    # --- one operation each, sync and async -----------------------------------------------------------------

    def submit(
        self,
        model: str,
        parameters: Mapping[str, Any],
        *,
        workflow: bool = False,
        budget: RetryBudget | None = None,
    ) -> SubmittedRequest:
        """
        Submit a v2 request. Each submit is billed once it completes; it is never sent twice blindly.

        :param model: the model's slug.
        :param parameters: its parameters; the three upscalers' are checked before anything is sent.
        :param workflow: the slug is that of a PixelFlow workflow, and the parameters are its inputs.
        :param budget: how patient to be; default: the hook's.
        """
        body = request_body(model, parameters, workflow=workflow)
        return self.get_conn().send(calls.submit(model, body, workflow=workflow), budget=budget)

    async def asubmit(
        self,
        model: str,
        parameters: Mapping[str, Any],
        *,
        workflow: bool = False,
        budget: RetryBudget | None = None,
    ) -> SubmittedRequest:
        """See :meth:`submit`."""
        body = request_body(model, parameters, workflow=workflow)
        return await self._asend(calls.submit(model, body, workflow=workflow), budget)

    def get_status(self, request_id: str) -> RequestStatus:
        """Return where a request stands; FAILED is a state, not an error."""
        return self.get_conn().send(calls.get_status(request_id))

    async def aget_status(self, request_id: str) -> RequestStatus:
        """See :meth:`get_status`."""
        return await self._asend(calls.get_status(request_id))

    def get_result(self, request_id: str, *, model: str = "") -> Result:
        """
        Return the result of a COMPLETED request; Segmind keeps it for one hour from the submit.

        :param request_id: the request.
        :param model: its slug, to stand in the result (the answer does not name it).
        """
        return self.get_conn().send(calls.get_result(request_id, model=model))

    async def aget_result(self, request_id: str, *, model: str = "") -> Result:
        """See :meth:`get_result`."""
        return await self._asend(calls.get_result(request_id, model=model))

    def get_history(self, request_id: str | None = None, **filters: Any) -> list[HistoryRow]:
        """
        Return the account's own requests, newest first, or the row of one request of any age.

        :param request_id: one request; then the filters mean nothing.
        :param filters: ``model`` (substring), ``status``, ``from_date``, ``to_date`` (days), ``page``, ``per_page``.
        """
        return self.get_history_page(request_id, **filters).rows

    def get_history_page(
        self, request_id: str | None = None, *, budget: RetryBudget | None = None, **filters: Any
    ) -> HistoryPage:
        """Return a page of the history and how many rows it has, see :meth:`get_history`; outputs are absolute URLs."""
        page = self.get_conn().send(calls.get_history(request_id, **filters), budget=budget)
        return page.with_absolute(self.settings.outputs_url)

    async def aget_history(self, request_id: str | None = None, **filters: Any) -> list[HistoryRow]:
        """See :meth:`get_history`."""
        page = await self._asend(calls.get_history(request_id, **filters))
        return page.with_absolute((await self.asettings()).outputs_url).rows

    def run_sync(self, model: str, parameters: Mapping[str, Any]) -> SyncResult:
        """
        Run a model with the blocking v1 call and return the picture's bytes.

        For trying things out: Segmind keeps v1 in maintenance mode, and an answer that is lost is a bill without
        a picture, because there is no request id to ask for.
        """
        return self.get_conn().send(calls.run_sync(model, request_body(model, parameters)))

    async def arun_sync(self, model: str, parameters: Mapping[str, Any]) -> SyncResult:
        """See :meth:`run_sync`."""
        return await self._asend(calls.run_sync(model, request_body(model, parameters)))

    def get_credits(self) -> Credits:
        """Return the balance of the key's account, in credits."""
        return self.get_conn().send(calls.get_credits())

    async def aget_credits(self) -> Credits:
        """See :meth:`get_credits`."""
        return await self._asend(calls.get_credits())

    def upload(self, files: Sequence[str | Path | bytes]) -> list[str]:
        """
        Upload files in one call and return their URLs in the same order.

        :param files: local paths, or contents. Base64 makes each a third larger on the wire.
        """
        return self.get_conn().send(calls.upload([data_uri_of(file) for file in files]))

    async def aupload(self, files: Sequence[str | Path | bytes]) -> list[str]:
        """See :meth:`upload`."""
        uris = await asyncio.to_thread(lambda: [data_uri_of(file) for file in files])
        return await self._asend(calls.upload(uris))

    def download(self, url: str, target: str | Path | BinaryIO, *, max_bytes: int | None = None) -> Download:
        """
        Stream an output into a file in constant memory, without the key.

        :param url: the output's URL; from where it may come is set by ``output_hosts`` of the connection.
        :param target: a local path, or a seekable file.
        :param max_bytes: refuse more than this.
        """
        client = self.get_conn()
        with writable(target) as file:
            return client.download(url, file, max_bytes=max_bytes)

    async def adownload(self, url: str, target: str | Path | BinaryIO, *, max_bytes: int | None = None) -> Download:
        """See :meth:`download`."""
        client = await self.aget_conn()
        with writable(target) as file:
            return await client.download(url, file, max_bytes=max_bytes)

    # --- waiting --------------------------------------------------------------------------------------------

    def informed(self, watch: Watch) -> Watch:
        """Return the wait with what this process has learned of the model: it also learns from this request."""
        return replace(watch, durations=durations_of(self.segmind_conn_id, watch.model))

    def watch(self, watch: Watch) -> Event:
        """Wait until a request is finished, or until its deadline, and return the event that says how it ended."""
        watch = replace(self.informed(watch), tolerance=self.settings.poll_error_timeout)
        clock = steady_clock()
        return drive(watch.steps(clock), self.get_conn(), clock=clock)

    async def awatch(self, watch: Watch) -> Event:
        """See :meth:`watch`."""
        settings = (await self._lease().client()).settings
        watch = replace(self.informed(watch), tolerance=settings.poll_error_timeout)
        return await adrive(watch.steps(steady_clock()), self._lease(), rate_limiter_for(self.segmind_conn_id))
