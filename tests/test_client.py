"""The client over real sockets: what is sent, what is sent again, and where the key goes."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from airflow_provider_segmind.client import SegmindClient
from airflow_provider_segmind.client.async_driver import AsyncSegmindClient
from airflow_provider_segmind.exceptions import (
    SegmindAnswerLostError,
    SegmindAuthError,
    SegmindConnectionError,
    SegmindError,
    SegmindGatewayError,
    SegmindMalformedAnswerError,
    SegmindRateLimitedError,
)
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.retrying import RetryBudget
from tests.gateways import KEY, Sleeps, recorder, settings_for

PARAMETERS = {"prompt": "hello"}


class Both:
    """Send through the sync and the async driver alike."""

    def __init__(self, kind, settings, **options):
        self.kind, self.sleeps = kind, Sleeps()
        self.settings, self.options = settings, options

    def send(self, call):
        if self.kind == "sync":
            with SegmindClient(self.settings, sleep=self.sleeps, **self.options) as client:
                return client.send(call)
        return asyncio.run(self._asend(call))

    async def _asend(self, call):
        async with AsyncSegmindClient(self.settings, sleep=self.sleeps.asleep, **self.options) as client:
            return await client.send(call)


@pytest.fixture(params=["sync", "async"])
def driver(request, segmind_emulator):
    def make(url=None, **options):
        return Both(request.param, settings_for(url or segmind_emulator.url), **options)

    return make


def submit():
    return calls.submit("echo-model", PARAMETERS)


def test_a_submit_is_sent_once(driver, segmind_emulator):
    found = driver().send(submit())
    assert found.request_id == segmind_emulator.requests[0].request_id
    assert segmind_emulator.stats.submits_attempted == 1


@pytest.mark.parametrize("fault", ["status:500", "status:502", "status:503", "status:504", "status:429"])
def test_a_submit_that_was_not_accepted_is_sent_again(driver, segmind_emulator, fault):
    segmind_emulator.faults.add("submit", fault, times=2)
    both = driver()
    both.send(submit())
    assert segmind_emulator.stats.submits_accepted == 1
    assert segmind_emulator.stats.submits_attempted == 3
    assert len(both.sleeps) == 2


@pytest.mark.parametrize("fault", ["drop_after", "garbage", "missing_fields"])
def test_a_submit_whose_answer_was_lost_is_never_sent_again(driver, segmind_emulator, fault):
    segmind_emulator.faults.add("submit", fault)
    with pytest.raises((SegmindAnswerLostError, SegmindMalformedAnswerError), match="second submit is a second bill"):
        driver().send(submit())
    assert segmind_emulator.stats.submits_attempted == 1
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_dropped_connection_before_acceptance_looks_the_same_so_it_is_not_sent_again(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "drop_before")
    with pytest.raises(SegmindAnswerLostError):
        driver().send(submit())
    assert segmind_emulator.stats.submits_accepted == 0


def test_a_refused_connection_may_be_tried_again(driver):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refused
        both = driver(f"http://127.0.0.1:{taken.getsockname()[1]}", budget=RetryBudget(attempts=3))
        with pytest.raises(SegmindConnectionError) as caught:
            both.send(submit())
    assert caught.value.retryable
    assert len(both.sleeps) == 2


@pytest.mark.parametrize(
    "fault", ["status:500", "status:502", "garbage", "drop_before", "drop_after", "html", "truncate"]
)
def test_a_look_is_repeated_on_anything_that_may_pass(driver, segmind_emulator, fault):
    request_id = driver().send(submit()).request_id
    segmind_emulator.faults.add("status", fault, times=2)
    both = driver()
    assert both.send(calls.get_status(request_id)).request_id == request_id
    # aiohttp itself repeats a GET once on a kept-alive connection that breaks, because the host may have closed it.
    assert len(both.sleeps) == 2 or (both.kind == "async" and fault.startswith("drop") and len(both.sleeps) == 1)


def test_what_will_not_pass_is_not_repeated(driver, segmind_emulator):
    both = driver()
    segmind_emulator.faults.add("status", "status:401")
    with pytest.raises(SegmindAuthError):
        both.send(calls.get_status("7c9e6679-7425-40de-944b-e07fc1f90ae7"))
    assert both.sleeps == []


def test_attempts_end(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "status:503")
    both = driver(budget=RetryBudget(attempts=4))
    with pytest.raises(SegmindGatewayError):
        both.send(submit())
    assert segmind_emulator.stats.submits_attempted == 4
    assert len(both.sleeps) == 3


def test_a_rate_limit_is_waited_out_until_its_reset(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "status:429", times=1, headers={"retry-after": "20"})
    both = driver()
    both.send(submit())
    assert 20 < both.sleeps[0] < 22


def test_a_wait_beyond_the_budget_is_not_begun(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "status:429", times=1, headers={"retry-after": "300"})
    both = driver(budget=RetryBudget(seconds=60))
    with pytest.raises(SegmindRateLimitedError):
        both.send(submit())
    assert both.sleeps == []


def test_redirects_are_not_followed_with_the_key(driver, segmind_emulator):
    with recorder() as elsewhere:
        segmind_emulator.faults.add("any", f"redirect:{elsewhere.url}/steal")
        with pytest.raises(SegmindError):
            driver(budget=RetryBudget(attempts=2)).send(calls.get_credits())
        assert elsewhere.seen == []


def test_the_key_goes_in_its_header_and_an_echo_of_it_is_masked(driver):
    with recorder() as gateway:
        gateway.answer = (
            401,
            {"content-type": "application/json"},
            json.dumps({"error": f"key {KEY} is bad"}).encode(),
        )
        with pytest.raises(SegmindAuthError) as caught:
            driver(gateway.url).send(calls.get_credits())
        [(path, headers)] = gateway.seen
    assert path == "/v1/get-user-credits"
    assert headers["x-api-key"] == KEY
    assert "authorization" not in headers
    assert KEY not in str(caught.value) + repr(caught.value.__dict__)
    assert "key *** is bad" in str(caught.value)


def test_uploads_and_history_go_to_their_own_hosts():
    with recorder() as gateway, recorder() as upload, recorder() as history:
        upload.answer = (200, {}, b'{"file_urls": ["https://x/a.png"]}')
        history.answer = (200, {}, b"[]")
        settings = settings_for(gateway.url, upload_url=upload.url, history_url=history.url)
        with SegmindClient(settings) as client:
            assert client.send(calls.upload(["data:image/png;base64,AA=="])) == ["https://x/a.png"]
            assert client.send(calls.get_history(model="esrgan")) == []
        assert [path for path, _ in upload.seen] == ["/upload-asset"]
        assert [path for path, _ in history.seen] == [
            "/inference-request/request-history?page=1&per_page=20&sort_by=model_created&sort_order=desc&model_name=esrgan"
        ]
        assert gateway.seen == []
