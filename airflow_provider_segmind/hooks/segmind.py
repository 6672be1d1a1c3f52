"""SegmindHook: connects to Segmind with an Airflow connection, one method per operation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self
from urllib.parse import urlsplit

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError
from airflow_provider_segmind.hooks.async_client import new_async_client
from airflow_provider_segmind.hooks.files import data_uri_of, writable
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.credits import has_no_balance
from airflow_provider_segmind.protocol.models import request_body
from airflow_provider_segmind.protocol.settings import EXTRAS, ConnectionSettings, connection_settings, values_of

if TYPE_CHECKING:
    from airflow_provider_segmind.client import Download, SegmindClient
    from airflow_provider_segmind.client.async_driver import AsyncSegmindClient
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

ENVIRONMENT_KEY = "SEGMIND_API_KEY"
ENVIRONMENT_GATEWAY = "SEGMIND_GATEWAY"


class SegmindHook(BaseHook):
    """
    Call Segmind with the key and the hosts of an Airflow connection.

    Connection: password = API key; host = gateway (default ``https://api.segmind.com``); the extras are the
    fields of :class:`~airflow_provider_segmind.protocol.settings.ConnectionSettings`. If the connection does not
    exist, or ``segmind_conn_id`` is None, the hook uses the key in the environment variable ``SEGMIND_API_KEY``, like
    Segmind's own SDK, and the gateway in ``SEGMIND_GATEWAY``, if that is set.

    The HTTP client is created at the first call and kept alive: close it with :meth:`close` (:meth:`aclose` for the
    client of :meth:`aget_conn`), or use the hook in a ``with`` (``async with``). Every method raises
    :class:`~airflow_provider_segmind.exceptions.SegmindError`, whose docstring shows the error tree.

    :param segmind_conn_id: Airflow connection (default ``segmind_default``), or None for the environment's key.
    :param budget: attempts and seconds for one call (default: 6 attempts in 120 seconds).
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
        self._async_client: AsyncSegmindClient | None = None

    # --- the connection -------------------------------------------------------------------------------------

    @property
    def settings(self) -> ConnectionSettings:
        """The validated connection. The first use reads it with the synchronous API."""
        if self._settings is None:
            values = None
            if self.segmind_conn_id is not None:
                with suppress(AirflowNotFoundException):
                    conn = self.get_connection(self.segmind_conn_id)
                    values = values_of(conn, conn.extra_dejson)
            if values is None:
                values = self._environment_values()
                mask_secret(values["api_key"])
            self._settings = self._validated(values)
        return self._settings

    async def asettings(self) -> ConnectionSettings:
        """
        Return the validated connection. The first call reads it with the async API.

        The synchronous API would block the event loop of a triggerer.
        """
        if self._settings is None:
            values = None
            if self.segmind_conn_id is not None:
                with suppress(AirflowNotFoundException):
                    conn = await get_async_connection(self.segmind_conn_id, self)
                    values = values_of(conn, await get_async_extra_dejson(conn))
            if values is None:
                values = self._environment_values()
                await asyncio.to_thread(mask_secret, values["api_key"])
            self._settings = self._validated(values)
        return self._settings

    @property
    def _source(self) -> str:
        return f"connection {self.segmind_conn_id!r}" if self.segmind_conn_id else f"environment's {ENVIRONMENT_KEY}"

    def _environment_values(self) -> dict[str, Any]:
        key = os.environ.get(ENVIRONMENT_KEY, "")
        if not key:
            missing = f"the {self._source} does not exist, and " if self.segmind_conn_id else ""
            raise SegmindConfigError(
                f"{missing}{ENVIRONMENT_KEY} is not set",
                next_step="Add a connection: airflow connections add "
                f"{self.segmind_conn_id or self.default_conn_name} --conn-type segmind --conn-password YOUR_API_KEY",
            )
        if self.segmind_conn_id is not None:
            self.log.info("Connection %r does not exist: using the key in %s", self.segmind_conn_id, ENVIRONMENT_KEY)
        return {"api_key": key, "gateway": os.environ.get(ENVIRONMENT_GATEWAY)}

    def _validated(self, values: dict[str, Any]) -> ConnectionSettings:
        if unknown := sorted(set(values) - EXTRAS - {"api_key", "gateway"}):
            self.log.warning("Ignored unknown extras of %s: %s (known: %s)", self._source, unknown, sorted(EXTRAS))
        known = {name: value for name, value in values.items() if name not in unknown}
        if not known.get("api_key"):
            raise SegmindConfigError(
                f"{self._source} has no password", next_step="Set its password to the API key of your Segmind account."
            )
        return connection_settings(known, where=self._source)

    def get_conn(self) -> SegmindClient:
        """Return the hook's HTTP client."""
        if self._client is None:
            from airflow_provider_segmind.client import SegmindClient

            self._client = SegmindClient(self.settings, budget=self.budget)
        return self._client

    async def aget_conn(self) -> AsyncSegmindClient:
        """
        Return the hook's async HTTP client, for a trigger or another coroutine: ``await client.send(call)``.

        It belongs to the running event loop. Close it with :meth:`aclose`.
        """
        if self._async_client is None:
            client = await new_async_client(await self.asettings(), budget=self.budget)
            if self._async_client is None:  # else another coroutine was faster; this one has no connections to close
                self._async_client = client
        return self._async_client

    def close(self) -> None:
        """Close the HTTP client."""
        if self._client is not None:
            self._client.close()
            self._client = None

    async def aclose(self) -> None:
        """Close the async HTTP client."""
        client, self._async_client = self._async_client, None
        if client is not None:
            await client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the key works, and a message with the balance: Airflow's "Test connection"."""
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

    # --- operations -----------------------------------------------------------------------------------------

    def submit(
        self,
        model: str,
        parameters: Mapping[str, Any],
        *,
        workflow: bool = False,
        budget: RetryBudget | None = None,
    ) -> SubmittedRequest:
        """
        Submit a v2 request. Each completed request is billed, so it is sent again only if Segmind has not accepted it.

        :param model: the model's slug.
        :param parameters: its parameters; those of the three upscalers are validated before anything is sent.
        :param workflow: the slug is that of a PixelFlow workflow, and the parameters are its inputs (default False).
        :param budget: attempts and seconds (default: the hook's).
        """
        body = request_body(model, parameters, workflow=workflow)
        return self.get_conn().send(calls.submit(model, body, workflow=workflow), budget=budget)

    def get_status(self, request_id: str) -> RequestStatus:
        """Return the status of a request. FAILED is a status, not an error."""
        return self.get_conn().send(calls.get_status(request_id))

    def get_result(self, request_id: str, *, model: str = "") -> Result:
        """
        Return the result of a COMPLETED request. Segmind keeps it for one hour after the submit.

        :param request_id: the request.
        :param model: its slug, which is copied into the result because the response does not name it.
        """
        return self.get_conn().send(calls.get_result(request_id, model=model))

    def get_history(self, request_id: str | None = None, **filters: Any) -> list[HistoryRow]:
        """
        Return the account's own requests, newest first, or the row of one request of any age.

        :param request_id: return this request only; the filters then have no effect.
        :param filters: ``model`` (substring), ``status``, ``from_date``, ``to_date`` (days), ``page``, ``per_page``.
        """
        return self.get_history_page(request_id, **filters).rows

    def get_history_page(
        self, request_id: str | None = None, *, budget: RetryBudget | None = None, **filters: Any
    ) -> HistoryPage:
        """
        Return one page of the history with its number of rows. Output URLs are absolute.

        :param request_id: see :meth:`get_history`.
        :param budget: attempts and seconds (default: the hook's).
        :param filters: see :meth:`get_history`.
        """
        page = self.get_conn().send(calls.get_history(request_id, **filters), budget=budget)
        return page.with_absolute(self.settings.outputs_url)

    def run_sync(self, model: str, parameters: Mapping[str, Any]) -> SyncResult:
        """
        Run a model with the blocking v1 call and return the image's bytes.

        Use it for experiments only: Segmind keeps v1 in maintenance mode, and an output whose response is lost is
        billed but cannot be fetched, because v1 has no request ids.

        :param model: the model's slug.
        :param parameters: its parameters.
        """
        return self.get_conn().send(calls.run_sync(model, request_body(model, parameters)))

    def get_credits(self) -> Credits:
        """Return the balance of the key's account, in credits."""
        return self.get_conn().send(calls.get_credits())

    def upload(self, files: Sequence[str | Path | bytes]) -> list[str]:
        """
        Upload files in one call and return their URLs in the same order.

        :param files: local paths, or contents. Base64 makes the request a third larger than the files.
        """
        return self.get_conn().send(calls.upload([data_uri_of(file) for file in files]))

    def download(self, url: str, target: str | Path | BinaryIO, *, max_bytes: int | None = None) -> Download:
        """
        Stream an output into a file in constant memory, without sending the key.

        :param url: the output URL. The connection's ``output_hosts`` sets which hosts are allowed.
        :param target: a local path, or a seekable file.
        :param max_bytes: raise an error if the output is larger (default: no limit).
        """
        client = self.get_conn()
        with writable(target) as file:
            return client.download(url, file, max_bytes=max_bytes)
