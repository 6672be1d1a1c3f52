"""The retry policy: every error has its decision; it serializes and composes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException

from airflow_provider_segmind.compat import ChainRetryPolicy
from airflow_provider_segmind.exceptions import (
    SegmindGatewayError,
    SegmindInsufficientCreditsError,
    SegmindRateLimitedError,
    SegmindSpendLimitError,
)
from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator
from airflow_provider_segmind.protocol.events import ERRORS
from airflow_provider_segmind.retry_policy import SegmindRetryPolicy
from tests.task_runner import run_tasks

policies = pytest.importorskip("airflow.sdk.definitions.retry_policy", reason="retry policies: Airflow 3.3 and later")
ExceptionRetryPolicy, RetryAction, RetryRule = policies.ExceptionRetryPolicy, policies.RetryAction, policies.RetryRule


def decide(error, policy=None):
    return (policy or SegmindRetryPolicy()).evaluate(error, try_number=1, max_tries=3)


@pytest.mark.parametrize("cls", ERRORS.values(), ids=ERRORS.keys())
def test_every_error_has_its_decision(cls):
    decision = decide(cls("vendor message", request_id="r-1"))
    assert decision.action is (RetryAction.RETRY if cls.default_retryable else RetryAction.FAIL)
    assert "vendor message" in decision.reason
    assert decision.retry_delay is None


def test_a_rate_limit_is_retried_at_its_reset():
    assert decide(SegmindRateLimitedError(retry_after=30)).retry_delay == timedelta(seconds=31)
    reset = datetime.now(UTC) + timedelta(seconds=60)
    delay = decide(SegmindRateLimitedError(reset_at=reset)).retry_delay
    assert timedelta(seconds=55) < delay < timedelta(seconds=62)


@pytest.mark.parametrize("cls", [SegmindInsufficientCreditsError, SegmindSpendLimitError])
def test_missing_credits_fail_or_wait(cls):
    assert decide(cls("")).action is RetryAction.FAIL
    decision = decide(cls(""), SegmindRetryPolicy(wait_for_credits=timedelta(hours=1)))
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(hours=1))


def test_what_is_not_ours_is_left_to_the_task():
    assert decide(ValueError("x")).action is RetryAction.DEFAULT


def test_a_cause_of_ours_decides():
    try:
        try:
            raise SegmindGatewayError("502")
        except SegmindGatewayError as cause:
            raise RuntimeError("wrapped") from cause
    except RuntimeError as error:
        assert decide(error).action is RetryAction.RETRY


@pytest.mark.parametrize("policy", [SegmindRetryPolicy(), SegmindRetryPolicy(timedelta(minutes=5))])
def test_it_serializes(policy):
    assert SegmindRetryPolicy.deserialize(json.loads(json.dumps(policy.serialize()))) == policy


def test_it_composes():
    chain = ChainRetryPolicy([ExceptionRetryPolicy(rules=[RetryRule(exception=ValueError)]), SegmindRetryPolicy()])
    assert decide(ValueError(""), chain).action is RetryAction.RETRY
    assert decide(SegmindInsufficientCreditsError("c"), chain).action is RetryAction.FAIL


def test_the_upscalers_use_it_when_the_author_sets_none():
    assert SegmindEsrganOperator(task_id="t", image="https://x/y").retry_policy == SegmindRetryPolicy()
    own = SegmindRetryPolicy(timedelta(hours=1))
    assert SegmindEsrganOperator(task_id="t", image="https://x/y", retry_policy=own).retry_policy is own
    assert SegmindEsrganOperator(task_id="t", image="https://x/y", retry_policy=None).retry_policy is None


def test_the_dags_own_default_is_kept():
    own = SegmindRetryPolicy(timedelta(hours=1))
    with DAG("defaults", schedule=None, default_args={"retry_policy": own}):
        assert SegmindEsrganOperator(task_id="t", image="https://x/y").retry_policy is own


@pytest.mark.parametrize(
    "policy", [SegmindRetryPolicy(), None, ExceptionRetryPolicy(rules=[RetryRule(exception=ValueError)])]
)
def test_a_permanent_error_fails_at_once_with_and_without_it(airflow_db, segmind_emulator, policy):
    segmind_emulator.faults.add("submit", "status:403")
    with DAG("permanent", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="t", image="https://x/y", retry_policy=policy, retries=3, retry_delay=timedelta(0)
        )
    run = run_tasks(dag)
    assert run.state == "failed"
    assert run.task("t").try_number == 1
    assert segmind_emulator.stats.submits_attempted == 1
    assert (AirflowFailException.__name__ in run.log) is not isinstance(policy, SegmindRetryPolicy)
