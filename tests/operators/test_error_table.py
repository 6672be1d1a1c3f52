"""Each row of the gateway's error table, in both modes, with Airflow's own retries: tries, submits, messages."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.execution import submit
from airflow_provider_segmind.operators.segmind import SegmindRunModelOperator
from tests.task_runner import run_tasks

#: HTTP status, Segmind's message, number of tries, number of submits, parts of the log.
#: After a 5xx response the history is searched and the request submitted again: three submits in a try.
ROWS = [
    (400, "Missing field image", 1, 1, ("Segmind refused the request (HTTP 400)", "Missing field image")),
    (401, "Unauthorized. API key is invalid", 1, 1, ("refused the API key (HTTP 401)", "the connection's password")),
    (403, "Not on this plan", 1, 1, ("no permission for this call (HTTP 403)", "Not on this plan")),
    (404, "Model not found", 1, 1, ("does not know this model (HTTP 404)", "Check the slug")),
    (405, "<html><h1>Method Not Allowed</h1></html>", 1, 1, ("refused the request (HTTP 405)", "Method Not Allowed")),
    (406, "Insufficient credits", 1, 1, ("Not enough Segmind credits (HTTP 406)", "Top up the account")),
    (406, "Team spend limit reached", 1, 1, ("A Segmind spend limit is reached (HTTP 406)", "Raise the team's limit")),
    (406, "Invalid content type", 1, 1, ("refused the content type (HTTP 406)",)),
    (406, "scale must be 2, 4 or 8", 1, 1, ("Segmind refused the request (HTTP 406)", "scale must be 2, 4 or 8")),
    (410, "Model retired", 1, 1, ("has retired this model (HTTP 410)", "successor")),
    (422, "bad body", 1, 1, ("Segmind refused the request (HTTP 422)", "bad body")),
    (500, "boom", 2, 6, ("internal error (HTTP 500)", "check the parameters")),
    (502, "<html>Bad Gateway</html>", 2, 6, ("gateway is unavailable (HTTP 502)", "retry later")),
    (503, "busy", 2, 6, ("gateway is unavailable (HTTP 503)", "retry later")),
    (504, "late", 2, 6, ("gateway is unavailable (HTTP 504)", "retry later")),
]


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "plain"])
@pytest.mark.parametrize(
    ("status", "detail", "tries", "submits", "messages"), ROWS, ids=[f"{r[0]} {r[1][:20]}" for r in ROWS]
)
def test_error_row(airflow_db, segmind_emulator, monkeypatch, status, detail, tries, submits, messages, deferrable):
    monkeypatch.setattr(submit, "_PAUSES", (0.0, 0.0, None))
    body = detail if detail.startswith("<") else {"error": detail}
    segmind_emulator.faults.add("submit", f"status:{status}", body=body)
    with DAG("error_row", schedule=None) as dag:
        SegmindRunModelOperator(
            task_id="t",
            model="echo-model",
            parameters={"prompt": "x"},
            deferrable=deferrable,
            retries=1,
            retry_delay=timedelta(0),
        )
    run = run_tasks(dag)
    assert run.state == "failed"
    assert run.task("t").try_number == tries
    stats = segmind_emulator.stats
    assert (stats.submits_attempted, stats.submits_accepted, stats.billed) == (submits, 0, 0)
    for message in messages:
        assert message in run.log
    assert "Segmind request" not in run.log, "Segmind accepted no request"
