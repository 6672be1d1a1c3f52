"""From a batch's items to its wants: checked before anything is sent, and each once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.record import RequestRecord, State
from airflow_provider_segmind.execution.want import Want
from airflow_provider_segmind.execution.waves import shown
from airflow_provider_segmind.lineage import TaskLineage, object_details, urls_in
from airflow_provider_segmind.protocol.identity import key_of
from airflow_provider_segmind.protocol.models import request_body
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.protocol.urls import is_url
from airflow_provider_segmind.storage.names import KEY_DIGITS, folded, keyed, stem_of
from airflow_provider_segmind.storage.verification import data_uri_size

log = logging.getLogger(__name__)

#: Number of wrong items that one error names.
_NAMED = 5


def wants_of(
    model: str, items: Any, shared: Mapping[str, Any], *, gateway: str, verify_images: bool = False
) -> list[Want]:
    """
    Return one want for each item that is different from the others.

    :param model: the slug.
    :param items: dicts of parameters, or URLs of images.
    :param shared: parameters of all items.
    :param gateway: where they are sent to: it is part of what identifies a request.
    :param verify_images: verify that each image in base64 is whole.
    :raises SegmindConfigError: naming the first items that are wrong.
    """
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence):
        raise SegmindConfigError(f"items must be a list, not {type(items).__name__}")
    if not isinstance(shared, Mapping):
        raise SegmindConfigError(f"parameters must be a dict, not {type(shared).__name__}")
    wants: dict[str, Want] = {}
    wrong = []
    for index, item in enumerate(items):
        own = {"image": item} if isinstance(item, str) else item
        try:
            if not isinstance(own, Mapping):
                raise SegmindConfigError(f"it is neither a dict nor a URL, but {type(item).__name__}")
            body = request_body(model, {**shared, **own})
            if verify_images:
                data_uri_size(model, body.get("image"))
        except SegmindConfigError as error:
            wrong.append(f"item {index}: {error.detail}")
            continue
        key = key_of(model, body, gateway)
        record = RequestRecord(key=key, index=index, item=shown(own))
        wants.setdefault(key, Want(body, record, name=_stem(index, body)))
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise SegmindConfigError("; ".join(wrong[:_NAMED]) + more, next_step="Nothing was submitted.")
    if len(wants) < len(items):
        log.info("%d of %d items have the parameters of another one", len(items) - len(wants), len(items))
    _name_apart(list(wants.values()))
    return list(wants.values())


def batch_lineage(value: Mapping[str, Any], wants: Sequence[Want], shared: Any, *, owner: str) -> TaskLineage:
    """
    Return the lineage of a batch: what this DAG run stored, in any of its tries, and not what existed before.

    Airflow sends the events of a task only once it has succeeded, so a later try reports what an earlier one stored.

    :param value: the batch in numbers.
    :param wants: all of them.
    :param shared: parameters of all items.
    :param owner: this task instance, as the rows name it.
    """
    made = [want for want in wants if want.record.state is State.DELIVERED and want.record.stored_by == owner]
    found = []
    for want in made:
        row, inputs, shown = want.record, list(urls_in(want.body)), redacted(want.body)
        cost = ((row.result or {}).get("metrics") or {}).get("cost")
        found += [
            object_details(item, value["model"], row.request_id, cost, inputs, shown) for item in row.stored or ()
        ]
    return TaskLineage(
        model=value["model"],
        parameters=redacted(shared or {}),
        metrics=value["metrics"],
        inputs=list(dict.fromkeys(uri for item in found for uri in item["inputs"])),
        images=found,
        batch={name: reported for name, reported in value.items() if name not in ("model", "metrics")},
    )


def _stem(index: int, item: Mapping[str, Any]) -> str:
    """Return what an output is named after: the input where that has a name, else the index."""
    image = item.get("image")
    stem = stem_of(image, otherwise="") if isinstance(image, str) and is_url(image) else ""
    return stem or f"{index:05d}"


def _name_apart(wants: Sequence[Want]) -> None:
    """Add the wants' keys to their names, so that these stay the same: the whole keys where two would be alike."""
    stems = {want.record.key: want.name for want in wants}
    for want in wants:
        want.name = keyed(want.name, want.record.key[:KEY_DIGITS])
    alike = Counter(folded(want.name) for want in wants)
    for want in wants:
        if alike[folded(want.name)] > 1:
            want.name = keyed(stems[want.record.key], want.record.key)
