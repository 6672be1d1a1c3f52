"""The HTTP layer, and the only package that imports httpx and aiohttp: two clients that send any call, one download."""

from airflow_provider_segmind.client.download import Download, download
from airflow_provider_segmind.client.driver import SegmindClient
from airflow_provider_segmind.client.transport import ssl_context

# Import AsyncSegmindClient from its own module: a task process does not need aiohttp.
__all__ = ["Download", "SegmindClient", "download", "ssl_context"]
