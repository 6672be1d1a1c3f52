"""From a batch's items to its pictures: checked before anything is sent, told apart, and given their history."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError
from airflow_provider_segmind.lineage import Made, manifest, urls_in
from airflow_provider_segmind.operators.submit_many import Picture
from airflow_provider_segmind.protocol.batch import Memory, Row, State, key_of, shown
from airflow_provider_segmind.protocol.models import request_body
from airflow_provider_segmind.protocol.presentable import presentable
from airflow_provider_segmind.protocol.wire import is_url
from airflow_provider_segmind.storage.names import stem_of

log = logging.getLogger(__name__)

#: So many wrong items are named in one error.
_NAMED = 5


def pictures_of(model: str, items: Any, shared: Mapping[str, Any], *, gateway: str) -> list[Picture]:
    """
    Return one picture for each item that is different from the others.

    :param model: the slug.
    :param items: dicts of parameters, or URLs of images.
    :param shared: parameters of all items.
    :param gateway: where they are sent to: it is part of what tells one request from another.
    :raises SegmindConfigError: naming the first items that are wrong.
    """
    if isinstance(items, str | Mapping) or not isinstance(items, Sequence):
        raise SegmindConfigError(f"items must be a list, not {type(items).__name__}")
    pictures: dict[str, Picture] = {}
    wrong = []
    for index, item in enumerate(items):
        own = {"image": item} if isinstance(item, str) else item
        try:
            if not isinstance(own, Mapping):
                raise SegmindConfigError(f"it is neither a dict nor a URL, but {type(item).__name__}")
            body = request_body(model, {**shared, **own})
        except SegmindConfigError as error:
            wrong.append(f"item {index}: {error.detail}")
            continue
        key = key_of(model, body, gateway)
        row = Row(key=key, index=index, item=shown(own))
        pictures.setdefault(key, Picture(body=body, name=_name(index, own, key), row=row))
    if wrong:
        more = f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise SegmindConfigError("; ".join(wrong[:_NAMED]) + more, next_step="Nothing was sent.")
    if len(pictures) < len(items):
        log.info("%d of %d items have the parameters of another one", len(items) - len(pictures), len(items))
    return list(pictures.values())


def take_up(pictures: Sequence[Picture], manifest: Mapping[str, Row], ledger: Mapping[str, Row]) -> None:
    """Give each picture what is known of it: by the manifest, or by the ledger where that is newer."""
    for picture in pictures:
        new = picture.row
        known = [found for found in (manifest.get(new.key), ledger.get(new.key)) if found]
        if known:
            latest = max(known, key=lambda row: row.moment)
            picture.row = latest.model_copy(update={"index": new.index, "item": new.item})


def counted(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Return how many rows are in each state, without those in which none is."""
    return [(str(state), count) for state in State if (count := sum(row.state is state for row in rows))]


def keep_moving(rows: Sequence[Row], memory: Memory, limited: SegmindError | None, *, patience: float) -> None:
    """
    Give up at a rate limit that lets nothing through.

    :param limited: the limit that was met in this stretch, if one was.
    :param patience: seconds since something was submitted or finished last.
    """
    now = time.time()
    moved = any(max(row.submitted_at or 0.0, row.finished_at or 0.0) > memory.moved_at for row in rows)
    if moved or not memory.moved_at:  # 0 where the first versions wrote it
        memory.moved_at = now
    nothing_runs = not any(row.state is State.RUNNING for row in rows)
    if limited is not None and nothing_runs and now > memory.moved_at + patience:
        memory.halted = limited.to_dict()


def made_of_batch(value: Mapping[str, Any], pictures: Sequence[Picture], shared: Any, *, owner: str) -> Made:
    """
    Return what a batch made, as lineage tells it: what this DAG run stored, and not what was there already.

    In whichever try: Airflow sends what a task tells only once it has succeeded.

    :param value: the batch in numbers.
    :param pictures: all of them.
    :param shared: parameters of all items.
    :param owner: this task instance, as the rows name it.
    """
    made = [picture for picture in pictures if picture.row.state is State.STORED and picture.row.stored_by == owner]
    found = []
    for picture in made:
        row, inputs, shown = picture.row, list(urls_in(picture.body)), presentable(picture.body)
        cost = ((row.result or {}).get("metrics") or {}).get("cost")
        found += [manifest(item, value["model"], row.request_id, cost, inputs, shown) for item in row.stored or ()]
    return Made(
        model=value["model"],
        parameters=presentable(shared or {}),
        metrics=value["metrics"],
        inputs=list(dict.fromkeys(uri for item in found for uri in item["inputs"])),
        pictures=found,
        batch={name: told for name, told in value.items() if name not in ("model", "metrics")},
    )


def _name(index: int, item: Mapping[str, Any], key: str) -> str:
    """Return a file name: after the input where that has a name, and the picture's key, so that it stays the same."""
    image = item.get("image")
    stem = stem_of(image, otherwise="") if isinstance(image, str) and is_url(image) else ""
    return f"{stem[:80] or f'{index:05d}'}-{key[:8]}"
