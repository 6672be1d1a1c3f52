"""Observed behaviour of real gateways on demand: teams, incomplete histories, wrong clocks, cut bodies."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from airflow_provider_segmind.emulator import Emulator
from airflow_provider_segmind.emulator.settings import Settings

HISTORY = "/inference-request/request-history"
MATE = {"x-api-key": "SG_" + "b" * 16}


def rows(api, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(HISTORY, params=query).json()["data"]
    return found


def clock_of(response: httpx.Response) -> float:
    """Return the time in ``Date``, in seconds from now."""
    return parsedate_to_datetime(response.headers["date"]).timestamp() - time.time()


# --- teams -----------------------------------------------------------------------------------------------------


def test_a_team_lists_all_requests_and_finds_only_its_own(api, emulator):
    emulator.reset(team=True)
    mine = api.submit("echo-model", prompt="mine")
    theirs = api.post("/v2/echo-model", {"prompt": "theirs"}, headers=MATE).json()["request_id"]
    for headers in ({}, MATE):
        listed = api.get(HISTORY, headers=headers).json()
        assert ({row["request_id"] for row in listed["data"]}, listed["total"]) == ({mine, theirs}, 2)
    for path in (f"{HISTORY}/{{}}", "/v2/requests/{}/status", "/v2/requests/{}", "/v1/requests/{}"):
        assert [api.get(path.format(one)).status_code for one in (mine, theirs)] == [200, 404]
        assert [api.get(path.format(one), headers=MATE).status_code for one in (mine, theirs)] == [404, 200]


def test_without_a_team_each_key_lists_its_own(api, emulator):
    mine = api.submit("echo-model")
    api.post("/v2/echo-model", headers=MATE)
    assert [row["request_id"] for row in rows(api)] == [mine]


# --- the history -----------------------------------------------------------------------------------------------


def test_pages_are_smaller_than_asked(api, emulator):
    emulator.reset(history_page=2)
    submitted = {api.submit("echo-model", prompt=str(number)) for number in range(5)}
    pages = [rows(api, per_page=100, page=number) for number in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert {row["request_id"] for page in pages for row in page} == submitted
    assert len(rows(api, per_page=1)) == 1
    received = api.get(HISTORY, params={"per_page": 100}).json()
    assert (received["per_page"], received["total"], received["total_pages"]) == (2, 5, 3)


def test_a_completed_request_has_a_row_for_each_output(api, emulator):
    emulator.reset(history_rows=3, latency=5)
    done = api.submit("video-model", prompt="x")
    emulator.advance(6)
    api.submit("video-model", prompt="y")
    assert emulator.stats.billed == 1
    listed = rows(api, sort_order="asc")
    assert [row["request_id"] for row in listed[:3]] == [done] * 3
    assert [row["credits_deduction"] for row in listed] == [0.25, 0.25, 0.25, 0.0]
    assert len(rows(api, status="COMPLETED", per_page=2)) == 2
    assert api.get(f"{HISTORY}/{done}").json()["request_id"] == done


def test_completed_requests_stay_pending_in_the_history(api, emulator):
    emulator.reset(history_pending=True)
    done = api.submit("video-model")
    assert api.finish(done).json()["status"] == "COMPLETED"
    failed = api.submit("esrgan", image="http://127.0.0.1:9/none.png")
    api.finish(failed)
    row = api.get(f"{HISTORY}/{done}").json()
    assert (row["model_status"], row["generation_url"], row["credits_deduction"]) == ("PENDING", None, 0.0)
    assert [found["request_id"] for found in rows(api, status="PENDING")] == [done]
    assert [found["request_id"] for found in rows(api, status="FAILED")] == [failed]


def test_output_urls_of_the_history_are_relative(api, emulator):
    emulator.reset(history_relative=True)
    request_id = api.submit("video-model")
    output = api.finish(request_id).json()["output"]
    [row] = rows(api)
    assert row["generation_url"] == f"/outputs/{request_id}.mp4"
    assert output == emulator.url + row["generation_url"]
    assert api.get(row["generation_url"]).status_code == 200


# --- the clock -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [300, -300])
def test_the_clock_of_the_emulator_is_off(api, emulator, skew):
    emulator.reset(clock_skew=skew)
    received = api.post("/v2/echo-model")
    assert clock_of(received) == pytest.approx(skew, abs=3)
    [row] = rows(api)
    assert parsedate_to_datetime(received.headers["date"]).strftime("%Y-%m-%dT%H:%M") == row["model_created"][:16]
    assert emulator.requests[0].submitted_at == pytest.approx(time.time() + skew, abs=3)


def test_the_date_header_follows_the_clock(api, emulator):
    assert clock_of(api.get("/v1/get-user-credits")) == pytest.approx(0, abs=3)
    emulator.advance(7200)
    emulator.faults.add("credits", "status:500", times=1)
    responses = [api.get("/v1/get-user-credits"), api.get("/outputs/none"), api.get("/no/route"), api.http.head("/")]
    assert [received.status_code for received in responses] == [500, 404, 404, 200]
    assert [clock_of(received) for received in responses] == [pytest.approx(7200, abs=3)] * 4
    assert all(len(received.headers.get_list("date")) == 1 for received in responses)


def test_a_fault_may_set_the_date_itself(api, emulator):
    date = "Thu, 01 Jan 1970 00:00:00 GMT"
    emulator.faults.add("credits", "status:503", headers={"Date": date}, times=1)
    assert api.get("/v1/get-user-credits").headers.get_list("date") == [date]


def test_a_given_clock_may_be_off_too():
    with Emulator(clock=lambda: 1000.0, clock_skew=-10) as emulator:
        assert httpx.head(emulator.url).headers["date"] == "Thu, 01 Jan 1970 00:16:30 GMT"


# --- connect ---------------------------------------------------------------------------------------------------


def test_head_on_the_root_only_connects(api, emulator):
    """Clients do so before they write their intent to submit."""
    emulator.faults.add("any", "status:503", times=1)
    before = emulator.stats
    streams = set()
    for _ in range(3):
        received = api.http.head("/")
        assert (received.status_code, received.content) == (200, b"")
        assert abs(clock_of(received)) < 3
        streams.add(received.extensions["network_stream"].get_extra_info("client_addr"))
    assert len(streams) == 1, "the connection was not kept"
    assert emulator.stats == before
    received = api.post("/v2/echo-model")
    assert received.status_code == 503, "the fault is still there for the first call"
    assert received.extensions["network_stream"].get_extra_info("client_addr") in streams


# --- responses ---------------------------------------------------------------------------------------------------


def test_an_accepted_submit_may_return_an_error(api, emulator, wire):
    emulator.faults.add_text("submit:status_after:504#2")
    for _ in range(2):
        received = api.post("/v2/echo-model", {"prompt": "x"})
        assert (received.status_code, received.json()) == (504, {"error": "Gateway Timeout"})
    assert api.post("/v2/echo-model", {"prompt": "x"}).status_code == 200
    assert (emulator.stats.submits_attempted, emulator.stats.submits_accepted, emulator.stats.billed) == (3, 3, 3)
    assert len(rows(api)) == 3


def test_an_error_after_acceptance_may_have_headers_and_a_body(api, emulator):
    emulator.faults.add("submit", "status_after:503", headers={"Retry-After": "2"}, body="<busy>", times=1)
    received = api.post("/v2/echo-model")
    assert (received.status_code, received.headers["retry-after"], received.text) == (503, "2", "<busy>")
    assert emulator.stats.submits_accepted == 1


@pytest.fixture
def output(api, emulator, photos) -> str:
    url: str = api.run("esrgan", image=emulator.add_image(photos / "cat.jpg"))["output"]
    return url


def test_an_output_is_missing_at_first(api, emulator, output):
    emulator.faults.add("output", "404", times=1)
    assert [api.get(output).status_code for _ in range(2)] == [404, 200]


def test_an_output_is_empty_once(api, emulator, output):
    emulator.faults.add("output", "empty", times=1)
    received = api.get(output)
    assert (received.status_code, received.content, received.headers["content-length"]) == (200, b"", "0")
    assert received.headers["content-type"] == "image/jpeg"
    assert api.get(output).content.startswith(b"\xff\xd8")


def test_an_output_is_cut_without_an_error(api, emulator, output):
    emulator.faults.add("output", "cut", times=1)
    short, whole = api.get(output), api.get(output)
    assert (short.status_code, short.headers["content-type"]) == (200, "image/jpeg")
    assert "content-length" not in short.headers
    assert short.content == whole.content[: len(whole.content) // 2]


def test_other_responses_may_be_empty_or_cut(api, emulator):
    emulator.faults.add_text("submit:empty#1, submit:cut#1")
    for _ in range(2):
        received = api.post("/v2/echo-model")
        assert received.status_code == 200
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            received.json()
    assert emulator.stats.submits_accepted == 2


# --- settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [{"history_page": 0}, {"history_rows": 0}, {"clock_skew": float("nan")}, {"clock_skew": float("inf")}]
)
def test_bad_settings(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


@pytest.mark.parametrize("text", ["submit:status_after", "submit:status_after:soon"])
def test_bad_faults(emulator, text):
    with pytest.raises(ValueError, match="status_after"):
        emulator.faults.add_text(text)
