"""
Asset events and hook lineage.

The provider registers no ``asset-uris`` handlers: a picture is an object of a storage, and its URI belongs to that
storage's provider (``file`` to common.io, ``s3`` to amazon, ``gs`` to google), which checks it, builds it, and names it
for OpenLineage. A ``segmind://`` of our own would name what nobody can open, and would be gone after an hour.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset, AssetAlias, AssetAll, AssetAny, conf

from airflow_provider_segmind.compat import event_extra, hook_lineage_is_read
from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.lineage.addresses import asset_uri
from airflow_provider_segmind.protocol.urls import canonical_uri

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.lineage.task_lineage import TaskLineage

log = logging.getLogger(__name__)

#: Seconds that one event may take Airflow's API server (measured: 0.013 of CPU, where the asset is new to it).
_SECONDS_AN_EVENT = 0.05


def check_outlets(outlets: Sequence[Any], *, stores: bool) -> None:
    """
    Refuse outlets of which Airflow would take no notice, or which would name something that is not there.

    :param outlets: of the task.
    :param stores: whether the task puts something into storage.
    :raises SegmindConfigError: naming the outlet.
    """
    for outlet in outlets:
        if isinstance(outlet, str | AssetAny | AssetAll):
            raise SegmindConfigError(
                f"outlets: {outlet!r:.200} makes no event: give a list of Asset('…') or AssetAlias('…')"
            )
        name = getattr(outlet, "name", None)
        if isinstance(name, str) and ("{{" in name or "{%" in name):
            raise SegmindConfigError(
                f"outlets: Airflow renders no template in {name!r:.200}",
                next_step="Take an AssetAlias with a fixed name: each stored picture is an asset of its own.",
            )
        if isinstance(outlet, AssetAlias) and not stores:
            raise SegmindConfigError(
                f"outlets: AssetAlias({outlet.name!r}) stands for what is stored, and nothing is: give a destination"
            )


def check_count(outlets: Sequence[Any], count: int) -> None:
    """
    Refuse more events of an alias than Airflow takes when the task ends.

    All of them go in one call. Where that takes longer than its time-out, the supervisor calls again, is told that the
    task is not running any more, and fails it, after everything was paid for (seen on 3.3.2).

    :param outlets: of the task.
    :param count: so many events there may be.
    :raises SegmindConfigError: naming the setting.
    """
    allowed = conf.getfloat("workers", "execution_api_timeout", fallback=5.0)
    needed = math.ceil(count * _SECONDS_AN_EVENT)
    if needed > allowed and any(isinstance(outlet, AssetAlias) for outlet in outlets):
        raise SegmindConfigError(
            f"{count} pictures are {count} asset events in one call when the task ends, which may take {needed} s; "
            f"[workers] execution_api_timeout allows {allowed:g} s, and Airflow fails the task after that",
            next_step=f"Nothing was sent. Set it to {needed} or more, or take Asset('…') for the alias: its one "
            "event names the batch's manifest.",
        )


def add_events(context: Context, outlets: Sequence[Any], made: TaskLineage) -> None:
    """
    Add an event for each stored object to the aliases among the outlets, and the manifest to the plain assets.

    Airflow sends them when the task succeeds, so this has to happen in the process that ends the task.
    """
    for outlet in outlets:
        if isinstance(outlet, AssetAlias):
            for image in [] if made.skipped else made.images:
                context["outlet_events"][outlet].add(_asset(image["uri"]), extra=event_extra(image))
            continue
        try:
            context["outlet_events"][outlet].extra.update(made.summary())
        except TypeError:  # other outlets, such as tables, are no assets and have no events
            log.debug("No asset event for the outlet %r", outlet)


def _asset(uri: str) -> Asset:
    try:
        return Asset(uri=asset_uri(uri))
    except ValueError as error:
        raise SegmindConfigError(
            f"{uri:.200} is stored, but Airflow takes no asset of that URI: {error}",
            next_step="Shorten the destination. A retry hands over what is stored, at no cost.",
        ) from error


def report(hook: SegmindHook, made: TaskLineage) -> None:
    """
    Report inputs and outputs to Airflow's hook lineage collector, where a plugin reads it.

    Airflow asks for readers itself, but loads the asset handlers of all providers first: 0.3 s of CPU in each task.
    """
    if not hook_lineage_is_read():
        return
    from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

    collector = get_hook_lineage_collector()  # type: ignore[no-untyped-call]
    try:
        for uri in made.inputs:
            collector.add_input_asset(context=hook, uri=asset_uri(uri))
        for uri in [canonical_uri(image["uri"]) for image in made.images] or made.elsewhere:
            collector.add_output_asset(context=hook, uri=asset_uri(uri))
    except ValueError as error:  # Airflow's own checks of an asset's URI
        log.warning("The lineage of this task is not complete: %s", error)
