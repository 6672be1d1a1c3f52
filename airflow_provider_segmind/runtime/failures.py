"""What becomes of an error that ends a task: whether Airflow tries again, and what its UI shows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, get_current_context, redact

from airflow_provider_segmind.compat import ChainRetryPolicy
from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.retry_policy import SegmindRetryPolicy

log = logging.getLogger(__name__)

#: The XCom in which the tab in Airflow's UI finds the error of a task.
ERROR_KEY = "segmind_error"


@contextmanager
def permanent_errors_fail(policy: Any = None) -> Iterator[None]:
    """
    Turn an error that a retry cannot succeed after into AirflowFailException, with the cause kept.

    Every error of ours that leaves a task passes here, also those that a trigger's event reports: so it is pushed for
    the tab in Airflow's UI as well (:func:`show_error`).

    :param policy: the task's retry policy. Ours decides itself, and Airflow does not ask a policy about
        AirflowFailException; another policy does not know what our errors mean.
    """
    try:
        yield
    except SegmindError as error:
        show_error(error)
        decides = isinstance(policy, SegmindRetryPolicy | ChainRetryPolicy)
        if error.retryable or decides:
            raise
        raise AirflowFailException(str(error)) from error


def show_error(error: SegmindError) -> None:
    """
    Push an error as an XCom, where the tab in Airflow's UI finds it: what a task raises is in its logs only.

    The next try clears it. Nothing is pushed with ``do_xcom_push=False``, or outside of a task.

    :param error: its texts are pushed with known secrets redacted, as in the logs.
    """
    try:
        ti = get_current_context()["ti"]
    except RuntimeError:
        return
    shown = error.to_dict()
    shown |= {"title": error.what, "message": shown.pop("detail")}
    try:
        if ti.task.do_xcom_push:
            ti.xcom_push(key=ERROR_KEY, value=redact(shown))
    except Exception:
        log.warning("The error could not be pushed for the tab in Airflow's UI", exc_info=True)
