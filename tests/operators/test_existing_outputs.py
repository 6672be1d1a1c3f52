"""An object at the destination: skipped, overwritten, or an error before the submit."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.operators.segmind import (
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
)
from tests.buckets import BUCKET, CONN

ESRGAN = SegmindEsrganOperator
URL = "https://www.segmind.com/butterfly.png"


@pytest.mark.parametrize("place", ["/out/{stem}.png", "/out/{stem}.{ext}", "/out/", "s3"])
def test_skip_existing_submits_only_what_has_changed(
    upscale, bucket, photos, tmp_path, segmind_emulator, deferrable, place
):
    source = tmp_path / "cat.jpg"
    source.write_bytes((photos / "cat.jpg").read_bytes())
    destination = f"s3://{CONN}@{BUCKET}/{{stem}}.{{ext}}" if place == "s3" else f"file://{tmp_path}{place}"
    arguments = {"input_path": f"file://{source}", "destination": destination, "output_format": "png"}
    arguments |= {"skip_existing": True, "deferrable": deferrable}
    first = upscale(**arguments)
    assert first.state == "success", first.log
    assert "skipped" not in first.xcom("t")

    again = upscale(**arguments)
    assert again.state == "success"
    assert "Nothing is submitted, nothing is billed" in again.log
    value = again.xcom("t")
    assert value == first.xcom("t") | {"skipped": True, "metrics": {**dict.fromkeys(value["metrics"]), "cost": 0.0}}
    assert not again.link("t", "SegmindOutputLink")  # Segmind's copy may have expired
    stats = segmind_emulator.stats
    assert (stats.submits_attempted, stats.uploads) == (1, 1)

    # Other parameters, another input or a deleted object: it is submitted again.
    assert "skipped" not in upscale(**{**arguments, "scale": 4}).xcom("t")
    assert "skipped" in upscale(**{**arguments, "scale": 4}).xcom("t")
    source.write_bytes((photos / "portrait-alpha.png").read_bytes())
    value = upscale(**{**arguments, "scale": 4}).xcom("t")
    assert "skipped" not in value
    if place != "s3":
        (tmp_path / value["stored"][0]["uri"].removeprefix(f"file://{tmp_path}/")).unlink()
        assert "skipped" not in upscale(**{**arguments, "scale": 4}).xcom("t")
    assert segmind_emulator.stats.submits_accepted == (3 if place == "s3" else 4)


def test_an_object_without_a_readable_sidecar_is_submitted_again(upscale, tmp_path, segmind_emulator):
    arguments = {"destination": f"file://{tmp_path}/x.jpg", "if_exists": "skip"}
    (tmp_path / "x.jpg").write_bytes(b"something")
    for sidecar in (None, "no JSON", '{"version": 2}', "[]"):
        if sidecar is not None:
            (tmp_path / "x.jpg.json").write_text(sidecar)
        assert "skipped" not in upscale(**arguments).xcom("t")
    assert segmind_emulator.stats.submits_accepted == 4
    assert "skipped" in upscale(**arguments).xcom("t")


@pytest.mark.parametrize("name", ["x.jpg", "{stem}.{ext}", ""])
def test_if_exists_fail_rejects_an_existing_object(upscale, tmp_path, segmind_emulator, deferrable, name):
    arguments = {"destination": f"file://{tmp_path}/{name}", "if_exists": "fail", "deferrable": deferrable}
    assert upscale(**arguments).state == "success"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    run = upscale(**arguments)
    assert run.state == "failed"
    assert "exists already, and if_exists='fail'" in run.log
    assert segmind_emulator.stats.submits_attempted == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_if_exists_fail_accepts_the_object_of_an_earlier_try(upscale, tmp_path, segmind_emulator):
    """The first try ends after it stored the object: the retry must recognize the object as its own."""
    from airflow_provider_segmind.execution.record import RequestRecord

    delivered, calls = RequestRecord.delivered, []

    def fail_once(self, stored, **named):
        calls.append(stored)
        if len(calls) == 1:
            raise OSError("the process was killed")
        delivered(self, stored, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RequestRecord, "delivered", fail_once)
        run = upscale(destination=f"file://{tmp_path}/x.jpg", if_exists="fail", sidecar=True)
    assert run.state == "success"
    assert len(calls) == 2
    assert segmind_emulator.stats.submits_accepted == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.jpg", "x.jpg.json"]


def test_if_exists_fail_does_not_replace_an_object_that_appeared_during_the_wait(
    upscale, tmp_path, segmind_emulator, monkeypatch
):
    from airflow_provider_segmind.execution.destination import Destination

    probe = Destination.probe

    def probe_and_write(self):
        probe(self)
        (tmp_path / "x.jpg").write_text("another object")

    monkeypatch.setattr(Destination, "probe", probe_and_write)
    run = upscale(destination=f"file://{tmp_path}/x.jpg", if_exists="fail", sidecar=True)
    assert run.state == "failed"
    assert "exists already, with a different content" in run.log
    assert (tmp_path / "x.jpg").read_text() == "another object"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.jpg"]


@pytest.mark.parametrize("place", ["/{stem}.{ext}", "/"])
def test_if_exists_fail_checks_all_extensions(upscale, tmp_path, segmind_emulator, place):
    """The content of the output decides its extension: after the bill, the output could not be stored."""
    arguments = {"destination": f"file://{tmp_path}{place}", "if_exists": "fail"}
    assert upscale(output_format="png", **arguments).state == "success"
    [there] = tmp_path.iterdir()
    for again in (
        upscale(output_format="png", **arguments),
        upscale(output_format="webp", **arguments),
        upscale(SegmindBriaIncreaseResolutionOperator, **arguments),  # it has no parameter for the format
    ):
        assert again.state == "failed"
        assert f"{there.name} exists already" in again.log
    assert segmind_emulator.stats.submits_attempted == 1
    assert list(tmp_path.iterdir()) == [there]


def test_skip_existing_finds_an_output_of_bria_under_any_extension(upscale, tmp_path, segmind_emulator):
    arguments = {"destination": f"file://{tmp_path}/{{stem}}.{{ext}}", "skip_existing": True}
    assert "skipped" not in upscale(SegmindBriaIncreaseResolutionOperator, **arguments).xcom("t")
    assert "skipped" in upscale(SegmindBriaIncreaseResolutionOperator, **arguments).xcom("t")
    assert segmind_emulator.stats.submits_attempted == 1


def test_skip_existing_rejects_a_destination_with_the_request_id(upscale, segmind_emulator):
    run = upscale(destination="{{ 's3://b/{request_id}.png' }}", skip_existing=True)
    assert run.state == "failed"
    assert "so nothing is ever skipped" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


def test_if_exists_fail_does_not_replace_an_object_with_the_name_of_the_sidecar(
    upscale, segmind_emulator, tmp_path, deferrable
):
    (tmp_path / "cat.jpg.json").write_text("mine")
    run = upscale(destination=f"file://{tmp_path}/cat.jpg", sidecar=True, if_exists="fail", deferrable=deferrable)
    assert run.state == "failed"
    assert "cat.jpg.json exists already" in run.log
    assert (tmp_path / "cat.jpg.json").read_text() == "mine"
    assert segmind_emulator.stats.submits_attempted == 0
