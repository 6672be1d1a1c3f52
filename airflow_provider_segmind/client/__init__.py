"""The only room that knows httpx: two drivers that send any call, and one download."""

from airflow_provider_segmind.client.download import Download, download
from airflow_provider_segmind.client.driver import SegmindClient
from airflow_provider_segmind.client.transport import ssl_context

# AsyncSegmindClient is imported from where it stands: a task process has no use for aiohttp.
__all__ = ["Download", "SegmindClient", "download", "ssl_context"]
