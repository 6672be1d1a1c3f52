"""
Asset events and hook lineage.

The provider registers no ``asset-uris`` handlers. A stored image is an object of a storage, and the provider of that
storage (common.io for ``file``, amazon for ``s3``, google for ``gs``) validates its URI and names it for OpenLineage.
A ``segmind://`` URI could not be opened, and its request would expire after an hour.
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

#: Seconds that Airflow's API server may need for one event (measured: 0.013 s of CPU for an asset that is new to it).
_SECONDS_PER_EVENT = 0.05


def check_outlets(outlets: Sequence[Any], *, stores: bool) -> None:
    """
    Raise SegmindConfigError for an outlet that Airflow would ignore, or for which nothing is stored.

    :param outlets: of the task.
    :param stores: whether the task stores an object.
    :raises SegmindConfigError: the outlet cannot be used; the message names it.
    """
    for outlet in outlets:
        if isinstance(outlet, str | AssetAny | AssetAll):
            raise SegmindConfigError(
                f"outlets: {outlet!r:.200} makes no event; pass a list of Asset('…') or AssetAlias('…')"
            )
        name = getattr(outlet, "name", None)
        if isinstance(name, str) and ("{{" in name or "{%" in name):
            raise SegmindConfigError(
                f"outlets: Airflow does not render the template in {name!r:.200}",
                next_step="Use an AssetAlias with a fixed name: each stored image becomes an asset of its own.",
            )
        if isinstance(outlet, AssetAlias) and not stores:
            raise SegmindConfigError(
                f"outlets: AssetAlias({outlet.name!r}) needs stored objects, and this task stores none; set destination"
            )


def check_count(outlets: Sequence[Any], count: int) -> None:
    """
    Raise SegmindConfigError for more events of an alias than Airflow accepts when the task ends.

    Airflow sends all events in one call. If that exceeds its timeout, the supervisor repeats the call, which is refused
    because the task is not running any more, and fails the task after everything was paid for (seen on 3.3.2).

    :param outlets: of the task.
    :param count: number of events, at most.
    :raises SegmindConfigError: there may be too many; the message names the setting.
    """
    allowed = conf.getfloat("workers", "execution_api_timeout", fallback=5.0)
    needed = math.ceil(count * _SECONDS_PER_EVENT)
    if needed > allowed and any(isinstance(outlet, AssetAlias) for outlet in outlets):
        raise SegmindConfigError(
            f"outlets: {count} images make {count} asset events in one call at the end, which may take {needed} s; "
            f"[workers] execution_api_timeout is {allowed:g} s, and Airflow fails the task after that",
            next_step=f"Nothing was submitted. Set it to {needed} or more, or replace the alias by Asset('…'): its one "
            "event names the batch's manifest.",
        )


def add_events(context: Context, outlets: Sequence[Any], lineage: TaskLineage) -> None:
    """
    Add an event for each stored object to the aliases among the outlets, and one summary to each plain asset.

    Airflow sends the events when the task succeeds, so call this in the process that ends the task.
    """
    for outlet in outlets:
        if isinstance(outlet, AssetAlias):
            for image in [] if lineage.skipped else lineage.images:
                context["outlet_events"][outlet].add(_asset(image["uri"]), extra=event_extra(image))
            continue
        try:
            context["outlet_events"][outlet].extra.update(lineage.summary())
        except TypeError:  # other outlets, such as tables, are not assets and have no events
            log.debug("No asset event for the outlet %r", outlet)


def _asset(uri: str) -> Asset:
    try:
        return Asset(uri=asset_uri(uri))
    except ValueError as error:
        raise SegmindConfigError(
            f"{uri:.200} is stored, but Airflow does not accept it as the URI of an asset: {error}",
            next_step="Shorten the destination. A retry returns the stored object at no cost.",
        ) from error


def report_to_hook_lineage(hook: SegmindHook, lineage: TaskLineage) -> None:
    """
    Report inputs and outputs to Airflow's hook lineage collector, if a plugin reads it.

    Airflow checks for readers too, but loads the asset handlers of all providers first: 0.3 s of CPU in each task.
    """
    if not hook_lineage_is_read():
        return
    from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

    collector = get_hook_lineage_collector()  # type: ignore[no-untyped-call]
    try:
        for uri in lineage.inputs:
            collector.add_input_asset(context=hook, uri=asset_uri(uri))
        for uri in [canonical_uri(image["uri"]) for image in lineage.images] or lineage.output_urls:
            collector.add_output_asset(context=hook, uri=asset_uri(uri))
    except ValueError as error:  # Airflow's own checks of an asset's URI
        log.warning("The hook lineage of this task is incomplete: %s", error)
