"""Clock, credits, rate limits, counters and history."""

from __future__ import annotations

import random
import socket
import statistics
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from airflow_provider_segmind.emulator import Emulator
from airflow_provider_segmind.emulator.settings import Latency, Settings

HISTORY = "/inference-request/request-history"


def test_a_request_expires_an_hour_after_submission_its_output_after_a_week(api, emulator, photos):
    image = emulator.add_image(photos / "cat.jpg")
    request_id = api.submit("esrgan", image=image)
    output = api.finish(request_id).json()["output"]
    emulator.advance(3590)
    assert api.result(request_id).status_code == 200
    emulator.advance(11)
    for path in (f"/v2/requests/{request_id}", f"/v2/requests/{request_id}/status", f"/v1/requests/{request_id}"):
        assert api.get(path).status_code == 404
    assert api.get(output).status_code == 200
    assert api.get(f"{HISTORY}/{request_id}").json()["generation_url"] == output
    emulator.advance(7 * 86400)
    assert api.get(output).status_code == 404
    assert api.get(f"{HISTORY}/{request_id}").status_code == 200


def test_retention_is_counted_from_submission(api, emulator):
    emulator.reset(retention=10, latency=8)
    request_id = api.submit("echo-model")
    emulator.advance(9)
    assert api.result(request_id).json()["status"] == "COMPLETED"
    emulator.advance(2)
    assert api.result(request_id).status_code == 404
    assert emulator.stats.billed == 1


def test_an_output_is_not_served_before_its_job_is_over(api, emulator):
    emulator.reset(latency=5)
    request_id = api.submit("video-model")
    assert api.get(f"/outputs/{request_id}.mp4").status_code == 404
    emulator.advance(6)
    assert api.get(f"/outputs/{request_id}.mp4").status_code == 200
    assert api.get(f"/outputs/{request_id}.png").status_code == 404
    assert api.get("/outputs/none").status_code == 404


def test_the_clock_only_moves_forward(api, emulator):
    with pytest.raises(ValueError, match="forward"):
        emulator.advance(-1)
    assert api.post("/_emulator/clock", {"advance": 5}).status_code == 200
    mistakes: list[object] = [{"advance": -5}, {"advance": "x"}, {}, []]
    for bad in mistakes:
        assert api.post("/_emulator/clock", bad).status_code == 400


def test_the_clock_can_be_given():
    moment = [1000.0]
    with (
        Emulator(clock=lambda: moment[0], latency=5) as emulator,
        httpx.Client(base_url=emulator.url, headers={"x-api-key": emulator.api_key}, verify=False) as http,
    ):
        body = http.post("/v2/echo-model", json={}).json()
        assert http.get(body["status_url"]).json()["status"] == "QUEUED"
        moment[0] += 4
        assert http.get(body["status_url"]).json()["status"] == "PROCESSING"
        moment[0] += 1
        assert http.get(body["status_url"]).json()["status"] == "COMPLETED"


def test_credits_are_spent_once_per_completed_job(api, emulator, photos):
    emulator.reset(credits=0.012)
    image = emulator.add_image(photos / "cat.jpg")
    body = api.run("esrgan", image=image)
    assert body["metrics"]["cost"] == 0.005
    assert body["metrics"]["remaining_credits"] == 0.007
    api.run("esrgan", image="http://127.0.0.1:9/none.png")  # fails: not billed
    assert api.run("esrgan", image=image)["metrics"]["remaining_credits"] == 0.002
    response = api.post("/v2/esrgan", {"image": image})
    assert response.status_code == 406
    assert response.json() == {"error": "Insufficient credits to process this request"}
    stats = emulator.stats
    assert (stats.submits_attempted, stats.submits_accepted, stats.billed) == (4, 3, 2)
    assert (stats.credits_spent, stats.remaining_credits) == (0.01, 0.002)


def test_the_last_fraction_of_a_credit_can_be_spent(api, emulator):
    emulator.reset(credits=0.05, latency=5)
    assert [api.post("/v2/echo-model").status_code for _ in range(51)] == [200] * 50 + [406]
    emulator.advance(6)
    assert emulator.stats.remaining_credits == 0
    assert emulator.stats.credits_spent == 0.05


def test_running_jobs_reserve_their_credits(api, emulator):
    emulator.reset(credits=0.002, latency=5)
    api.submit("echo-model")
    api.submit("echo-model")
    assert api.post("/v2/echo-model").status_code == 406
    assert api.get("/v1/get-user-credits").json()["credits"] == 0.002
    emulator.advance(6)
    assert api.get("/v1/get-user-credits").json()["credits"] == 0


def test_rate_limit(api, emulator):
    emulator.reset(rate_limit=2)
    assert [api.post("/v2/echo-model").status_code for _ in range(2)] == [200, 200]
    response = api.post("/v2/echo-model")
    assert response.status_code == 429
    assert "retry-after" not in response.headers
    reset = datetime.fromisoformat(response.headers["x-rate-limit-reset-at-utc"])
    assert 0 < (reset - datetime.now(UTC)).total_seconds() <= 61
    assert api.status("x").status_code == 404  # polls are free
    assert api.post("/v2/echo-model", headers={"x-api-key": "SG_" + "a" * 16}).status_code == 200
    assert api.post("/v1/echo-model").status_code == 429
    emulator.advance(61)
    assert api.post("/v2/echo-model").status_code == 200
    assert emulator.stats.rate_limited == 2


def test_rate_limit_header_is_in_the_time_of_the_client(api, emulator):
    emulator.reset(rate_limit=0)
    emulator.advance(86400)
    reset = datetime.fromisoformat(api.post("/v2/echo-model").headers["x-rate-limit-reset-at-utc"])
    assert (reset - datetime.now(UTC)).total_seconds() < 62


def test_rate_limit_on_polls(api, emulator):
    emulator.reset(rate_limit=1, rate_limit_polls=True)
    assert [api.status("x").status_code for _ in range(2)] == [404, 429]


def test_counters_and_requests(api, emulator, photos):
    image = emulator.add_image(photos / "cat.jpg")
    emulator.reset()
    request_id = api.submit("video-model", prompt="x")
    api.submit("echo-model", image=image)
    for _ in range(3):
        api.status(request_id)
    output = api.result(request_id).json()["output"]
    httpx.get(output)
    assert emulator.stats.keys_seen_on_downloads == 0
    api.get(output)
    api.http.get(output, headers={"x-api-key": "", "authorization": "Bearer x"})
    stats = emulator.stats
    assert (stats.polls, stats.results, stats.downloads, stats.keys_seen_on_downloads) == (3, 1, 3, 2)
    video = stats.by_model["video-model"]
    assert (video.attempted, video.accepted, video.polls, video.results, video.billed) == (1, 1, 3, 1, 1)
    assert video.credits_spent == 0.25
    first, second = emulator.requests
    assert (first.request_id, first.model, first.parameters) == (request_id, "video-model", {"prompt": "x"})
    assert (first.status, first.polls, first.results, first.billed) == ("COMPLETED", 3, 1, True)
    assert first.user_agent.startswith("python-httpx/")
    assert second.polls == 0


def test_admin_over_http_never_shows_a_key(api, emulator):
    api.submit("echo-model", prompt="x")
    stats, requests = api.get("/_emulator/stats"), api.get("/_emulator/requests")
    assert stats.json()["submits_accepted"] == 1
    assert requests.json()[0]["model"] == "echo-model"
    assert emulator.api_key not in stats.text + requests.text
    assert api.post("/_emulator/reset", {"credits": 5}).status_code == 200
    assert api.get("/_emulator/requests").json() == []
    assert api.get("/v1/get-user-credits").json()["credits"] == 5
    assert api.post("/_emulator/reset", {"nonsense": 5}).status_code == 400
    assert api.http.post("/_emulator/reset").status_code == 200
    assert api.get("/v1/get-user-credits").json()["credits"] == 100


def test_history(api, emulator):
    emulator.reset(latency=5)
    first = api.submit("echo-model", prompt="first")
    emulator.advance(6)
    second = api.submit("video-model", image="x")
    failed = api.submit("esrgan", image="http://127.0.0.1:9/none.png")

    def rows(**query: Any) -> list[str]:
        response = api.get(HISTORY, params=query)
        assert response.status_code == 200, response.text
        return [row["request_id"] for row in response.json()["data"]]

    assert set(rows()) == {first, second, failed}
    assert rows()[-1] == first
    assert rows(sort_order="asc")[0] == first
    assert rows(model_name="echo") == [first]
    assert rows(status="PENDING", sort_order="asc") == [second, failed]
    emulator.advance(6)
    assert emulator.stats.billed == 2
    assert rows(status="FAILED") == [failed]
    assert rows(sort_by="credits_deduction")[0] == second
    assert rows(sort_by="model_name", sort_order="asc") == [first, failed, second]
    assert len(rows(per_page=2)) == 2
    assert len(rows(per_page=2, page=2)) == 1
    assert rows(to_date="2020-01-02", from_date="2020-01-01") == []
    row = api.get(f"{HISTORY}/{first}").json()
    assert row["request_body"] == {"prompt": "first"}
    assert row["latency_ms"] == 5000
    assert row["credits_deduction"] == 0.001
    other = {"x-api-key": "SG_" + "b" * 16}
    assert api.get(HISTORY, headers=other).json()["total"] == 0
    assert api.get(f"{HISTORY}/{first}", headers=other).status_code == 404


@pytest.mark.parametrize(
    "query",
    [{"per_page": 101}, {"per_page": 0}, {"page": "x"}, {"status": "DONE"}, {"sort_by": "x"},
     {"sort_order": "up"}, {"from_date": "yesterday"}, {"from_date": "2020-01-01"}],
)  # fmt: skip
def test_invalid_history_queries_are_refused(api, query):
    assert api.get(HISTORY, params=query).status_code == 400


def test_history_delay(api, emulator):
    emulator.reset(history_delay=30)
    request_id = api.submit("echo-model")
    assert api.get(HISTORY).json()["data"] == []
    assert api.get(f"{HISTORY}/{request_id}").status_code == 404
    emulator.advance(31)
    assert [row["request_id"] for row in api.get(HISTORY).json()["data"]] == [request_id]


def test_latency_distributions():
    rng = random.Random(1)
    assert Latency.parse(0.2).draw(rng) == 0.2
    drawn = [Latency.parse("uniform:1:3").draw(rng) for _ in range(500)]
    assert 1 <= min(drawn) < 1.2
    assert 2.8 < max(drawn) <= 3
    drawn = [Latency.parse("lognormal:12:0.2").draw(rng) for _ in range(500)]
    assert 11 < statistics.median(drawn) < 13


@pytest.mark.parametrize("text", ["", "x", "-1", "uniform:1", "uniform:3:1", "lognormal:0:1", "nan", "inf", "beta:1:2"])
def test_bad_latencies(text):
    with pytest.raises(ValueError, match="latency"):
        Latency.parse(text)


@pytest.mark.parametrize("wrong", [{"queue_share": 2}, {"upload_key": "x"}, {"rate_limit": -1}, {"latency": "x"}])
def test_bad_settings(wrong):
    with pytest.raises(ValueError, match=r".+"):
        Settings(**wrong)


def test_unknown_setting():
    with pytest.raises(TypeError):
        Emulator(colour="blue")


def test_stop_frees_the_port_and_start_continues(photos):
    emulator = Emulator(latency=60)
    with pytest.raises(RuntimeError, match="no address"):
        emulator.add_image(b"x")
    with emulator:
        url, port = emulator.url, int(emulator.url.rpartition(":")[2])
        headers = {"x-api-key": emulator.api_key}
        request_id = httpx.post(f"{url}/v2/echo-model", json={}, headers=headers).json()["request_id"]
        with pytest.raises(RuntimeError, match="already running"):
            emulator.start()
    emulator.stop()
    with socket.socket() as free:
        free.bind(("127.0.0.1", port))
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
    with emulator:
        assert emulator.url == url
        assert httpx.get(f"{url}/v2/requests/{request_id}", headers=headers).json()["status"] == "QUEUED"
    with Emulator(port=port) as other:
        assert other.url == url
        with pytest.raises(OSError, match="in use"):
            Emulator(port=port).start()
