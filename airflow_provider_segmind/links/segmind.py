"""
Links on a task instance that lead out of Airflow: to the model's page, the output, and where it is stored.

Airflow 3 writes them when a task ends, defers or fails; the web server of Airflow 2 asks for them, so those that need
the result are there once the task has ended. There is none to a page of the request: Segmind documents no such page,
only its API; the request id stands in the XCom and in the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_segmind.compat import returned_on_airflow_2
from airflow_provider_segmind.links.pages import SegmindPageLink, SegmindTabLink
from airflow_provider_segmind.protocol.models import MODEL_PAGE
from airflow_provider_segmind.protocol.wire import is_url

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

_CONSOLES = {
    "s3": "https://s3.console.aws.amazon.com/s3/object/{bucket}?prefix={key}",
    "gs": "https://console.cloud.google.com/storage/browser/_details/{bucket}/{key}",
}
_SCHEMES = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gs", "gcs": "gs"}


class SegmindModelLink(BaseOperatorLink):
    """The page of the model: what it does, its parameters, its price."""

    name = "Segmind model"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the model's page."""
        slug = returned_on_airflow_2(ti_key).get("model") or getattr(operator, "model", None)
        return MODEL_PAGE.format(slug=quote(slug, safe="")) if isinstance(slug, str) and slug else ""


class SegmindOutputLink(BaseOperatorLink):
    """The output where Segmind has put it, for as long as it is kept there; empty until there is one."""

    name = "Upscaled picture"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the output."""
        value = returned_on_airflow_2(ti_key)
        output = None if value.get("skipped") else value.get("output") or getattr(operator, "output_link", None)
        return str(output) if is_url(output) else ""


class SegmindStoredLink(BaseOperatorLink):
    """The stored object, or a batch's manifest, in the console of its store; empty where that has none."""

    name = "Stored object"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address in the console of AWS or Google Cloud."""
        value = returned_on_airflow_2(ti_key)
        stored = value.get("stored") or [{}]
        uri = value.get("manifest") or stored[0].get("uri") or getattr(operator, "stored_uri", None)
        return console_of(uri) if isinstance(uri, str) and not _is_elsewhere(uri) else ""


#: While there is nothing to show yet.
BEFORE_THE_OUTPUT = (SegmindTabLink(), SegmindPageLink(), SegmindModelLink())


def console_of(uri: str) -> str:
    """Return where a browser shows an object of S3 or GCS; empty for any other store."""
    scheme, _, rest = uri.partition("://")
    authority, _, key = rest.partition("/")
    bucket = authority.rpartition("@")[2]  # before it: the connection
    if scheme not in _SCHEMES or not bucket or not key:
        return ""
    return _CONSOLES[_SCHEMES[scheme]].format(bucket=quote(bucket, safe=""), key=quote(key, safe="/"))


def _is_elsewhere(uri: str) -> bool:
    """Tell whether ``s3://`` means a store of another vendor. The filesystem is at hand: it has just written there."""
    if _SCHEMES.get(uri.partition("://")[0]) != "s3":
        return False
    from airflow_provider_segmind.storage.paths import object_path

    return bool(getattr(object_path(uri, None).fs, "endpoint_url", None))
