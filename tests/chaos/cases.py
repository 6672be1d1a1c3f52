"""The places at which the process of a task is killed, in the order in which a task reaches them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.kills import Kill

_OPERATOR = "airflow_provider_segmind.operators.base:SegmindRequestOperator"
_EXECUTION = "airflow_provider_segmind.execution"
_SUBMITTER = f"{_EXECUTION}.submit:Submitter"
_RECORDS = f"{_EXECUTION}.store:TaskStateRecords"
_DESTINATION = f"{_EXECUTION}.destination:Destination"
_CLIENT = "airflow_provider_segmind.client"
_STORAGE = "airflow_provider_segmind.storage.publication"


@dataclass(frozen=True)
class Case:
    """
    One place at which a process is killed.

    :param name: part of the task id and of the file name of the image.
    :param description: for the tables.
    :param kill: where the process dies; None if something else fails.
    :param modes: the modes in which the case exists.
    :param arguments: further arguments of the operator.
    """

    name: str
    description: str
    kill: Kill | None
    modes: tuple[str, ...] = ("deferrable", "plain")
    arguments: dict[str, Any] = field(default_factory=dict)


_RESUBMIT = {"on_lost_submit": "resubmit", "lost_submit_wait": 2}
_DEFERRABLE, _PLAIN = ("deferrable",), ("plain",)

IN_THE_WAIT = Case(
    "in_the_wait", "at a poll in the wait", Kill(f"{_CLIENT}.driver:SegmindClient.send", only="/status"), _PLAIN
)
#: Before the POST, when its intent is written.
_AT_THE_POST = Kill(f"{_EXECUTION}.gateway:SegmindModel._submit")
_AFTER_THE_MARK = Kill("airflow_provider_segmind.hooks.segmind:SegmindHook.submit")
#: After the record has the request id. No other write contains this state.
_ID_WRITTEN = Kill(f"{_RECORDS}.put", "after", only="State.SUBMITTED")
CASES = (
    Case("before_intent", "before the intent is written", Kill(f"{_SUBMITTER}._send")),
    Case("before_post", 'before the POST leaves (`on_lost_submit="resubmit"`)', _AT_THE_POST, arguments=_RESUBMIT),
    Case(
        "response_under_way",
        "after acceptance, before the response arrives",
        Kill(f"{_CLIENT}.driver:Driver._request", "response", only="method='POST'"),
    ),
    Case("before_id_written", "after the response, before the record has the id", Kill(f"{_SUBMITTER}._responded")),
    Case("after_id_written", "right after the record has the id", _ID_WRITTEN),
    Case(
        "before_deferral", "after the record has the id, before the deferral", Kill(f"{_OPERATOR}._defer"), _DEFERRABLE
    ),
    IN_THE_WAIT,
    Case("before_result", "the wait is over, before the result is read", Kill(f"{_EXECUTION}.single:SingleRun.resume")),
    Case(
        "before_result_written",
        "after the result is read, before it is written",
        Kill(f"{_EXECUTION}.recover:Recovery.has_result", "after"),
    ),
    Case("before_storing", "after the result is written, before storing", Kill(f"{_DESTINATION}.store")),
    Case("in_download", "in the middle of the download", Kill(f"{_CLIENT}.download:_receive", "half")),
    Case("before_publish", "while the object is written", Kill(f"{_STORAGE}:_copy", "after")),
    Case(
        "before_delivery_written",
        "after the object is stored, before the record is updated",
        Kill(f"{_DESTINATION}.store_one", "after"),
    ),
    Case(
        "before_end",
        "after the record is DELIVERED, before the task ends",
        Kill(f"{_EXECUTION}.engine:Engine.deliver", "after"),
    ),
    Case(
        "before_success",
        "`execute` has returned, before Airflow has the result",
        Kill(f"{_OPERATOR}.post_execute"),
    ),
)
#: The cases of the quick tests.
FAST = ("before_post", "response_under_way", "before_id_written", "before_deferral", "in_download", "before_end")

_BATCH = "airflow_provider_segmind.operators.batch:SegmindBatchOperator"
_MANIFEST = f"{_EXECUTION}.manifest"
_FOLDER = f"{_EXECUTION}.folder"

IN_A_WAVE = Case(
    "batch_responded",
    "in a wave, after the first id is written",
    _ID_WRITTEN,
    arguments=_RESUBMIT,
)
#: Where the process of a batch dies. A submit that was never sent has an unknown outcome, too: hence "resubmit".
BATCH_CASES = (
    Case("batch_intent", "before a wave's intents are written", Kill(f"{_SUBMITTER}._send")),
    Case(
        "batch_response",
        'in a wave, some responses not read, some POSTs not sent (`on_lost_submit="resubmit"`)',
        Kill(f"{_CLIENT}.driver:Driver._request", "response", only="method='POST'"),
        arguments=_RESUBMIT,
    ),
    IN_A_WAVE,
    Case("batch_manifest", "before the manifest is written", Kill(f"{_MANIFEST}:BatchFolder.write")),
    Case("batch_deferral", "after the manifest is written, before the deferral", Kill(f"{_BATCH}._defer")),
    Case("batch_storing", "while the first output is written", Kill(f"{_STORAGE}:_copy", "after", only=".jpg")),
    Case(
        "batch_stored",
        "after outputs are stored, before the manifest is updated",
        Kill(f"{_FOLDER}:FolderStorage.store", "after"),
    ),
    Case("batch_end", "before the task ends", Kill(f"{_EXECUTION}.batch:BatchRun._close")),
)

#: No kill: the emulator accepts one submit of this model and closes the connection without a response.
DROPPED = Case("response_dropped", "the response is dropped; no process dies", None)

#: With the default on_lost_submit="fail": the outcome of the submit stays unknown, and the user has to decide; or a
#: later request in the history shows that it was not accepted.
LOST = Case("lost", "before the POST leaves, its mark is removed; nothing is listed later", _AFTER_THE_MARK)
NOT_ACCEPTED = Case(
    "not_accepted", "before the POST leaves, its mark is removed; a later request is listed", _AFTER_THE_MARK
)

SDK_KILLS = {
    "before_post": Kill("segmind.v2:submit"),
    "after_response": Kill("segmind.v2:submit", "after"),
    "in_the_wait": Kill("segmind.v2:AsyncJob.status", "after"),
    "in_download": Kill("tests.chaos.peers:fetch", "half"),
    "before_end": Kill("tests.chaos.peers:saved", "after"),
}
HTTP_KILLS = {
    "before_post": Kill("airflow.providers.http.hooks.http:HttpHook.run", only="v2/esrgan"),
    "after_response": Kill("airflow.providers.http.hooks.http:HttpHook.run", "after", only="v2/esrgan"),
    "in_the_wait": Kill("airflow.providers.http.hooks.http:HttpHook.run", "after", only="/status"),
    "in_download": Kill("tests.chaos.peers:fetch", "half"),
    "before_end": Kill("tests.chaos.peers:saved", "after"),
}
#: Name -> description, and the name of our case that dies at the same place.
COMPARED = {
    "before_post": ("before the POST leaves", "before_post"),
    "after_response": ("after the response, before its id is stored", "before_id_written"),
    "in_the_wait": ("in the wait", "in_the_wait"),
    "in_download": ("during the download", "in_download"),
    "before_end": ("after saving, before the task ends", "before_end"),
}


def cases(mode: str, names: Iterable[str] | None = None) -> list[Case]:
    """Return the cases of one mode, all of them or those with these names."""
    return [case for case in CASES if mode in case.modes and (names is None or case.name in names)]
