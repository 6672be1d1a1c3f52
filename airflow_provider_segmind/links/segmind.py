"""
Links on a task instance to pages outside Airflow: the model's page, the output, and the stored object.

Airflow 3 writes them when a task ends, defers or fails. The web server of Airflow 2 computes them, so links that need
the result are there once the task has ended. No link leads to a request: Segmind documents no page for one. The
request id is in the XCom and in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_segmind.compat import returned_on_airflow_2
from airflow_provider_segmind.links.pages import SegmindPageLink, SegmindTabLink
from airflow_provider_segmind.protocol.models import model_page
from airflow_provider_segmind.protocol.urls import canonical_scheme, is_url, split_uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

#: Canonical scheme -> page of an object in the vendor's console.
_CONSOLES = {
    "s3": "https://s3.console.aws.amazon.com/s3/object/{bucket}?prefix={key}",
    "gs": "https://console.cloud.google.com/storage/browser/_details/{bucket}/{key}",
}


class SegmindModelLink(BaseOperatorLink):
    """The page of the model: description, parameters, price."""

    name = "Segmind model"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the model's page."""
        slug = returned_on_airflow_2(ti_key).get("model") or getattr(operator, "model", None)
        return model_page(slug) if isinstance(slug, str) and slug else ""


class SegmindOutputLink(BaseOperatorLink):
    """The output at Segmind, for as long as Segmind keeps it; empty until there is one."""

    name = "Output at Segmind"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the output."""
        value = returned_on_airflow_2(ti_key)
        output = None if value.get("skipped") else value.get("output") or getattr(operator, "output_link", None)
        return str(output) if is_url(output) else ""


class SegmindStoredLink(BaseOperatorLink):
    """The stored object, or a batch's manifest, in the console of AWS or Google Cloud; empty for other storages."""

    name = "Stored object"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the object in its console."""
        value = returned_on_airflow_2(ti_key)
        stored = value.get("stored") or [{}]
        uri = value.get("manifest") or stored[0].get("uri") or getattr(operator, "stored_uri", None)
        return console_of(uri) if isinstance(uri, str) and not _is_elsewhere(uri) else ""


#: The links that need no output.
BEFORE_THE_OUTPUT = (SegmindTabLink(), SegmindPageLink(), SegmindModelLink())


def console_of(uri: str) -> str:
    """Return the page that shows an object of S3 or GCS; empty for any other storage."""
    scheme, bucket, path = split_uri(uri)
    console, key = _CONSOLES.get(canonical_scheme(scheme)), path.removeprefix("/")
    return console.format(bucket=quote(bucket, safe=""), key=quote(key, safe="/")) if console and bucket and key else ""


def _is_elsewhere(uri: str) -> bool:
    """Return whether an ``s3://`` URI is in a store that is not AWS. The task has just used its filesystem."""
    if canonical_scheme(split_uri(uri).scheme) != "s3":
        return False
    from airflow_provider_segmind.storage.paths import object_path

    return bool(getattr(object_path(uri, None).fs, "endpoint_url", None))
