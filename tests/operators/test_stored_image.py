"""What is stored is the image that was asked for: size, content and metadata, by every operator."""

from __future__ import annotations

import io
import json

import pytest
from airflow.providers.common.compat.sdk import DAG
from PIL import Image, ImageCms

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.operators.segmind import (
    SegmindBatchOperator,
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
    SegmindRunModelOperator,
)
from airflow_provider_segmind.protocol.data_uris import data_uri
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.airflow_versions import needs_task_state_store
from tests.buckets import BUCKET, CONN
from tests.task_runner import run_tasks

ESRGAN, NOMOS, BRIA = (
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
    SegmindBriaIncreaseResolutionOperator,
)


def phone_photo(photos, kind="JPEG", orientation=6) -> bytes:
    """A photo that lies on its side, as phones write it; upright it is 180 x 400."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    with Image.open(photos / "cat.jpg") as cat:
        cat.resize((400, 180)).save(file, kind, exif=exif)
    return file.getvalue()


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- size -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_photo_that_lies_on_its_side_is_stored_upright(upscale, photos, tmp_path, deferrable, kind):
    (tmp_path / f"phone.{kind}").write_bytes(phone_photo(photos, kind))
    arguments = {"input_path": f"file://{tmp_path}/phone.{kind}", "destination": f"file://{tmp_path}/out/"}
    run = upscale(**arguments, output_format="png", deferrable=deferrable)
    assert run.state == "success", run.log
    [stored] = run.xcom("t")["stored"]
    assert (stored["width"], stored["height"]) == (360, 800)
    assert stored["similarity"] > 0.9


def test_a_data_uri_that_lies_on_its_side_is_stored_upright(upscale, photos, tmp_path, deferrable):
    image = data_uri(phone_photo(photos))
    run = upscale(NOMOS, image=image, destination=f"file://{tmp_path}/out/", deferrable=deferrable)
    assert run.state == "success", run.log
    [stored] = run.xcom("t")["stored"]
    assert (stored["width"], stored["height"]) == (720, 1600)
    assert stored["similarity"] > 0.9


@pytest.mark.parametrize(("operator", "factor"), [(ESRGAN, 2), (BRIA, 4)])
def test_an_output_that_was_not_scaled_names_both_sizes(
    upscale, tmp_path, segmind_emulator, deferrable, operator, factor
):
    segmind_emulator.faults.add("submit", "wrong_image:unscaled")
    run = upscale(operator, destination=f"file://{tmp_path}/out/", deferrable=deferrable)
    assert run.state == "failed"
    large = f"{300 * factor} x {200 * factor}"
    assert f"it has 300 x 200 pixels; its input has 300 x 200, and scaled by {factor} it has {large}" in run.log
    assert "set verify='off' and clear the task" in run.log
    assert run.task("t").try_number == 1, "the error is permanent"
    assert files(tmp_path) == []


def test_the_size_of_an_input_behind_a_url_counts_if_it_is_compared(upscale, photos, tmp_path, segmind_emulator):
    segmind_emulator.faults.add("submit", "wrong_image:unscaled")
    arguments = {"image": segmind_emulator.add_image(photos / "cat.jpg"), "destination": f"file://{tmp_path}/out/"}
    assert upscale(**arguments).state == "success"
    run = upscale(**arguments, verify="same")
    assert run.state == "failed"
    assert "it has 300 x 200 pixels; its input has 300 x 200, and scaled by 2 it has 600 x 400" in run.log


def test_verify_off_stores_it_with_a_warning(upscale, tmp_path, segmind_emulator, deferrable):
    segmind_emulator.faults.add("submit", "wrong_image:unscaled")
    run = upscale(destination=f"file://{tmp_path}/out/", verify="off", deferrable=deferrable)
    assert run.state == "success"
    [stored] = run.xcom("t")["stored"]
    assert (stored["width"], stored["height"]) == (300, 200)
    assert "similarity" not in stored
    assert "verify='off': the output is stored although it has 300 x 200 pixels" in run.log


# --- the same image -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", [ESRGAN, NOMOS, BRIA])
def test_the_score_is_in_xcom_and_sidecar(upscale, tmp_path, deferrable, operator):
    run = upscale(operator, destination=f"file://{tmp_path}/x.{{ext}}", sidecar=True, deferrable=deferrable)
    [stored] = run.xcom("t")["stored"]
    assert 0.9 < stored["similarity"] <= 1
    [sidecar] = tmp_path.glob("*.json")
    assert json.loads(sidecar.read_text())["object"]["similarity"] == stored["similarity"]
    assert f"score {stored['similarity']:.3f}" in run.log


@pytest.mark.parametrize("defect", ["other", "blank", "mirrored", "rotated"])
@pytest.mark.parametrize("in_bucket", [True, False])
def test_another_image_goes_to_quarantine(
    upscale, bucket, photos, tmp_path, segmind_emulator, deferrable, defect, in_bucket
):
    segmind_emulator.faults.add("submit", f"wrong_image:{defect}")
    folder = f"s3://{CONN}@{BUCKET}/out" if in_bucket else f"file://{tmp_path}/out"
    run = upscale(destination=f"{folder}/cat.png", deferrable=deferrable)
    assert run.state == "failed"
    assert "The output is not the same image as its input: score 0." in run.log
    shown = folder.replace(f"{CONN}@", "")
    [request] = segmind_emulator.requests
    kept = f".quarantine/{request.request_id}/cat.png"
    assert f"Output: {shown}/{kept}. Input: file://{photos}/cat.jpg" in run.log.replace(f"{CONN}@", "")
    assert run.task("t").try_number == 1, "the error is permanent"
    if in_bucket:
        assert [one["Key"] for one in bucket.client.list_objects_v2(Bucket=BUCKET)["Contents"]] == [f"out/{kept}"]
    else:
        assert files(tmp_path) == [f"out/{kept}"]


@needs_task_state_store
def test_a_clear_with_verify_whole_takes_the_same_output(upscale, tmp_path, segmind_emulator, deferrable):
    segmind_emulator.faults.add("submit", "wrong_image:other", times=1)
    run = upscale(destination=f"file://{tmp_path}/cat.png", deferrable=deferrable)
    assert run.state == "failed"
    run.dag.task_dict["t"].verify = "whole"
    again = run.again("t")
    assert again.state == "success"
    [request] = segmind_emulator.requests
    kept = f".quarantine/{request.request_id}/cat.png"
    assert files(tmp_path) == [kept, "cat.png"]
    assert (tmp_path / "cat.png").read_bytes() == (tmp_path / kept).read_bytes()
    assert segmind_emulator.stats.submits_attempted == 1


def test_each_mismatch_of_a_name_is_kept(upscale, tmp_path, segmind_emulator):
    segmind_emulator.faults.add("submit", "wrong_image:other")
    for _ in range(2):
        assert upscale(destination=f"file://{tmp_path}/cat.png").state == "failed"
    requests = sorted(request.request_id for request in segmind_emulator.requests)
    assert files(tmp_path) == [f".quarantine/{request_id}/cat.png" for request_id in requests]


def test_an_input_behind_a_url_is_compared_only_if_asked(upscale, photos, tmp_path, segmind_emulator, deferrable):
    url = segmind_emulator.add_image(photos / "cat.jpg")
    arguments = {"image": url, "destination": f"file://{tmp_path}/cat.jpg", "deferrable": deferrable}
    assert "similarity" not in upscale(**arguments).xcom("t")["stored"][0]
    [stored] = upscale(**arguments, verify="same").xcom("t")["stored"]
    assert stored["similarity"] > 0.9
    segmind_emulator.faults.add("submit", "wrong_image:other")
    failed = upscale(**arguments, verify="same")
    assert failed.state == "failed"
    assert f"Input: {url}" in failed.log


@pytest.mark.parametrize(("verify", "state"), [(None, "success"), ("same", "failed")])
def test_an_input_that_changed_is_not_compared(upscale, photos, tmp_path, verify, state):
    """What was submitted is no longer there, and the request is paid for: the default stores its output."""
    source, starts = tmp_path / "cat.jpg", []
    source.write_bytes((photos / "cat.jpg").read_bytes())

    def change(context):
        starts.append(context)
        if len(starts) == 2:  # the task resumes after its deferral
            source.write_bytes((photos / "astronaut.png").read_bytes())

    arguments = {"input_path": f"file://{source}", "destination": f"file://{tmp_path}/out/", "deferrable": True}
    run = upscale(**arguments, verify=verify, pre_execute=change)
    assert run.state == state, run.log
    if state == "success":
        assert "similarity" not in run.xcom("t")["stored"][0]
        assert "The output is not compared with its input" in run.log
    else:
        assert "which verify='same' requires: the input has changed since it was submitted" in run.log
        assert "set verify='whole' and clear the task" in run.log


def test_a_batch_compares_the_images_that_it_has(segmind_emulator, airflow_db, photos, tmp_path, quick_polls):
    segmind_emulator.faults.add("submit", "wrong_image:other", times=1)
    items = [data_uri((photos / name).read_bytes()) for name in ("cat.jpg", "astronaut.png")]
    with DAG("batch", schedule=None) as dag:
        SegmindBatchOperator(
            task_id="t",
            model="nomos-upscaler",
            items=items,
            destination=f"file://{tmp_path}/out",
            max_failures=1,
            poll_interval=0.25,
        )
    run = run_tasks(dag)
    assert run.state == "success", run.log
    assert run.xcom("t")["errors"] == {"SegmindImageMismatchError": 1}
    rows = [json.loads(line) for line in (tmp_path / "out/t.manifest.jsonl").read_text().splitlines()]
    [stored] = [row["stored"][0] for row in rows if row.get("stored")]
    assert stored["similarity"] > 0.9
    assert len(list((tmp_path / "out/.quarantine").iterdir())) == 1


def test_a_batch_of_urls_is_compared_only_if_asked(segmind_emulator, airflow_db, photos, tmp_path, quick_polls):
    with DAG("batch", schedule=None) as dag:
        for verify in (None, "same"):
            SegmindBatchOperator(
                task_id=f"verify_{verify}",
                model="esrgan",
                items=[segmind_emulator.add_image(photos / "cat.jpg")],
                destination=f"file://{tmp_path}/{verify}",
                verify=verify,
                poll_interval=0.25,
            )
    run = run_tasks(dag)
    assert run.state == "success", run.log
    for verify in (None, "same"):
        [row] = (tmp_path / f"{verify}/verify_{verify}.manifest.jsonl").read_text().splitlines()
        assert ("similarity" in json.loads(row)["stored"][0]) is (verify == "same")


@pytest.mark.parametrize(
    "arguments",
    [{"verify": "same"}, {"keep_metadata": "all"}],
    ids=["verify", "keep_metadata"],
)
def test_only_upscalers_compare_and_copy(arguments):
    with pytest.raises(SegmindConfigError, match="only the upscalers"):
        SegmindRunModelOperator(task_id="t", model="echo-model", destination="s3://b/x/", **arguments)
    with pytest.raises(SegmindConfigError, match="only the upscalers"):
        SegmindBatchOperator(task_id="t", model="echo-model", items=[], destination="s3://b/x/", **arguments)
    with pytest.raises(SegmindConfigError, match="need a destination"):
        SegmindEsrganOperator(task_id="t", image="https://www.segmind.com/x.png", **arguments)
    parameters = {"image": "https://www.segmind.com/x.png"}
    SegmindRunModelOperator(task_id="t", model="esrgan", parameters=parameters, destination="s3://b/x/", **arguments)


def test_a_transfer_has_no_input_to_compare_with():
    with pytest.raises(SegmindConfigError, match="needs the input, which a transfer does not have"):
        SegmindToObjectStorageOperator(task_id="t", request_id="r", destination="s3://b/x/", verify="same")


# --- broken downloads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["cut", "truncate", "empty", "status:404"])
def test_a_broken_download_is_repeated_in_the_same_try(upscale, tmp_path, segmind_emulator, deferrable, fault):
    segmind_emulator.faults.add("output", fault, times=1)
    run = upscale(destination=f"file://{tmp_path}/cat.png", output_format="png", deferrable=deferrable, retries=0)
    assert run.state == "success", run.log
    assert segmind_emulator.stats.submits_attempted == 1


# --- metadata -------------------------------------------------------------------------------------------------------


def with_profile(photos) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x010F] = "Camera"
    exif.get_ifd(0x8825)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with Image.open(photos / "cat.jpg") as cat:
        cat.save(file, "JPEG", icc_profile=profile, exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(
    ("keep", "kept"), [(None, ["icc"]), ("none", None), ("icc", ["icc"]), ("all", ["icc", "exif"])]
)
@pytest.mark.parametrize("format_", ["jpeg", "png", "webp"])
def test_metadata_of_the_input_is_kept(upscale, photos, tmp_path, keep, kept, format_):
    source = with_profile(photos)
    (tmp_path / "cat.jpg").write_bytes(source)
    choice = {} if keep is None else {"keep_metadata": keep}
    run = upscale(
        input_path=f"file://{tmp_path}/cat.jpg",
        destination=f"file://{tmp_path}/out/x.{{ext}}",
        output_format=format_,
        sidecar=True,
        **choice,
    )
    assert run.state == "success", run.log
    [stored] = run.xcom("t")["stored"]
    assert stored.get("metadata") == kept
    [made] = [path for path in (tmp_path / "out").iterdir() if path.suffix != ".json"]
    assert made.stat().st_size == stored["bytes"]
    with Image.open(made) as image, Image.open(io.BytesIO(source)) as before:
        assert (image.info.get("icc_profile") == before.info["icc_profile"]) is ("icc" in (kept or []))
        assert (image.getexif().get(0x010F) == "Camera") is (keep == "all")
    [sidecar] = (tmp_path / "out").glob("*.json")
    assert json.loads(sidecar.read_text())["object"].get("metadata") == kept
