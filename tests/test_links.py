"""The addresses of links. In a running Airflow they are tested by tests/plugins/test_preview_route.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_segmind.decorators import segmind as decorators
from airflow_provider_segmind.links.pages import (
    SegmindPageLink,
    SegmindTabLink,
    operators_with_pages,
)
from airflow_provider_segmind.links.segmind import (
    BEFORE_THE_OUTPUT,
    SegmindModelLink,
    SegmindOutputLink,
    SegmindStoredLink,
    console_of,
)
from airflow_provider_segmind.operators import segmind as operators
from airflow_provider_segmind.sensors import segmind as sensors
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.airflow_versions import AIRFLOW, needs_tabs

ODD = SimpleNamespace(dag_id="a/b", run_id="manual__2026-01-01T00:00:00+00:00", task_id="t.x y", map_index=0)


@needs_tabs
def test_ids_are_quoted_and_no_link_begins_with_a_slash():
    tab = SegmindTabLink().get_link(SimpleNamespace(), ti_key=ODD)
    run_id = "manual__2026-01-01T00%3A00%3A00%2B00%3A00"
    assert tab == f"dags/a%2Fb/runs/{run_id}/tasks/t.x%20y/mapped/0/plugin/segmind-upscaled"
    page = SegmindPageLink().get_link(SimpleNamespace(), ti_key=ODD)
    assert page == f"segmind/view.html?dag_id=a%2Fb&run_id={run_id}&task_id=t.x%20y&map_index=0"
    for none in (-1, None):
        key = SimpleNamespace(**(vars(ODD) | {"map_index": none}))
        assert (
            SegmindTabLink().get_link(SimpleNamespace(), ti_key=key).endswith("/tasks/t.x%20y/plugin/segmind-upscaled")
        )
        assert SegmindPageLink().get_link(SimpleNamespace(), ti_key=key).endswith("&map_index=-1")


@pytest.mark.parametrize(
    ("uri", "console"),
    [
        ("s3://b/k", "https://s3.console.aws.amazon.com/s3/object/b?prefix=k"),
        ("s3a://conn@b/a b/k@1.png", "https://s3.console.aws.amazon.com/s3/object/b?prefix=a%20b/k%401.png"),
        ("gs://conn@b/a/k&x.png", "https://console.cloud.google.com/storage/browser/_details/b/a/k%26x.png"),
        ("gcs://b/k", "https://console.cloud.google.com/storage/browser/_details/b/k"),
        ("s3://b", ""),
        ("s3://b/", ""),
        ("file:///a/k", ""),
        ("abfs://c/k", ""),
        ("k", ""),
    ],
)
def test_consoles(uri, console):
    assert console_of(uri) == console


def test_a_store_that_is_not_aws_has_no_console_of_aws(bucket, airflow_db):
    assert not SegmindStoredLink().get_link(SimpleNamespace(stored_uri="s3://images_s3@images/k"), ti_key=ODD)
    there = SegmindStoredLink().get_link(SimpleNamespace(stored_uri="gs://b/k"), ti_key=ODD)
    assert there.startswith("https://console.cloud.google.com/")
    assert SegmindStoredLink().get_link(SimpleNamespace(stored_uri=None), ti_key=ODD) == ""


def test_only_addresses_are_links():
    for output in (None, "", "javascript:alert(1)", "iVBORw0KGgo=", "s3://b/k", 7):
        assert SegmindOutputLink().get_link(SimpleNamespace(output_link=output), ti_key=ODD) == ""
    url = "https://images.segmind.com/x.png"
    assert SegmindOutputLink().get_link(SimpleNamespace(output_link=url), ti_key=ODD) == url
    model = SegmindModelLink().get_link(SimpleNamespace(model="a/../b?c"), ti_key=ODD)
    assert model == "https://www.segmind.com/models/a%2F..%2Fb%3Fc"
    assert SegmindModelLink().get_link(SimpleNamespace(), ti_key=ODD) == ""


def test_links_are_distinguished_by_their_class():
    """As in an operator that has no output yet."""
    assert SegmindTabLink() in BEFORE_THE_OUTPUT
    assert SegmindOutputLink() not in BEFORE_THE_OUTPUT


def test_the_api_server_makes_the_links_into_airflow_for_every_operator_that_has_them():
    ours = [
        SegmindToObjectStorageOperator,
        *(getattr(operators, name) for name in operators.__all__),
        *(value for module in (sensors, decorators) for value in vars(module).values()),
    ]
    have_one = [cls for cls in ours if SegmindTabLink() in (getattr(cls, "operator_extra_links", None) or ())]
    assert set(operators_with_pages()) == set(have_one)


class Mine(operators.SegmindEsrganOperator):
    """A class of a user: the API server does not know it."""


@pytest.mark.parametrize("cls", [operators.SegmindEsrganOperator, Mine])
def test_tasks_write_those_links_only_where_the_api_server_cannot_make_them(cls):
    operator = cls(task_id="t", image="https://example.com/a.jpg")
    into_airflow = {SegmindTabLink.name, SegmindPageLink.name} if cls is Mine or AIRFLOW < (3, 0) else set()
    assert {link.name for link in operator.operator_extra_links} == {
        *into_airflow,
        SegmindModelLink.name,
        SegmindOutputLink.name,
        SegmindStoredLink.name,
    }
