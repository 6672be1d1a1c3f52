"""An output never replaces its input: whatever its spelling, in every store, and with everything that is written."""

from __future__ import annotations

import hashlib
import os

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.operators.segmind import SegmindRunModelOperator
from airflow_provider_segmind.storage import object_path
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.buckets import BUCKET, CONN
from tests.folding import FoldingFileSystem, use_for_memory
from tests.operators.batch_dag import batch_dag
from tests.task_runner import run_tasks

SAME = "is the input itself, or may become it"


@pytest.fixture
def cat(photos):
    return (photos / "cat.jpg").read_bytes()


def assert_refused(run, emulator, message=SAME):
    assert run.state == "failed"
    assert message in run.log
    assert run.task("t").try_number == 1, "the error is permanent"
    assert "Nothing was submitted" in run.log
    assert (emulator.stats.submits_attempted, emulator.stats.uploads) == (0, 0)


@pytest.mark.parametrize(
    "name", ["cat.jpg", "../in/./cat.jpg", "linked.jpg", "hard.jpg", "../link/cat.jpg", "{stem}.{ext}"]
)
def test_spellings_of_a_local_file(upscale, segmind_emulator, tmp_path, cat, name, deferrable):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(cat)
    (tmp_path / "link").symlink_to(folder)
    (folder / "linked.jpg").symlink_to(folder / "cat.jpg")
    os.link(folder / "cat.jpg", folder / "hard.jpg")
    run = upscale(input_path=f"file://{folder}/cat.jpg", destination=f"file://{folder}/{name}", deferrable=deferrable)
    assert_refused(run, segmind_emulator)
    assert "be billed again" in run.log
    assert (folder / "cat.jpg").read_bytes() == cat


@pytest.mark.parametrize("conn", [CONN, "other_s3"])
def test_an_object_in_a_bucket(upscale, bucket, segmind_emulator, cat, conn, deferrable):
    bucket.client.put_object(Bucket=BUCKET, Key="in/cat.jpg", Body=cat)
    run = upscale(
        input_path=f"s3://{CONN}@{BUCKET}/in/cat.jpg",
        destination=f"s3://{conn}@{BUCKET}/in/{{stem}}.{{ext}}",
        deferrable=deferrable,
    )
    assert_refused(run, segmind_emulator)
    assert bucket.read("in/cat.jpg") == cat


@pytest.mark.parametrize("style", ["path", "presigned", "operator with parameters"])
def test_a_url_of_the_object(upscale, bucket, s3_server, segmind_emulator, cat, style, deferrable):
    bucket.client.put_object(Bucket=BUCKET, Key="in/a cat.jpg", Body=cat)
    url = f"{s3_server}/{BUCKET}/in/a%20cat.jpg"
    if style == "presigned":
        url = bucket.client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "in/a cat.jpg"})
    target = f"s3://{CONN}@{BUCKET}/in/a cat.jpg"
    if style == "operator with parameters":
        arguments = {"model": "some-model", "parameters": {"inputs": [{"reference": url}]}}
        with DAG("urls", schedule=None) as dag:
            SegmindRunModelOperator(task_id="t", destination=target, deferrable=deferrable, **arguments)
        run = run_tasks(dag)
    else:
        run = upscale(image=url, destination=target, deferrable=deferrable)
    assert_refused(run, segmind_emulator)
    assert bucket.read("in/a cat.jpg") == cat


def test_an_object_beside_it_is_written(upscale, bucket, s3_server, segmind_emulator, cat):
    bucket.client.put_object(Bucket=BUCKET, Key="cat.jpg", Body=cat)
    arguments = {"input_path": f"s3://{CONN}@{BUCKET}/cat.jpg", "deferrable": False}
    assert upscale(destination=f"s3://{CONN}@{BUCKET}/Cat.jpg", **arguments).state == "success"
    assert upscale(destination=f"s3://{CONN}@{BUCKET}/{{stem}}_large.{{ext}}", **arguments).state == "success"
    assert set(bucket.objects()) == {"cat.jpg", "Cat.jpg", "cat_large.jpg"}


@pytest.mark.parametrize(("kept", "written"), [("cat.jpg", "Cat.JPG"), ("caf\u00e9.jpg", "cafe\u0301.jpg")])
def test_another_spelling_in_a_store_that_folds_names(
    upscale, monkeypatch, segmind_emulator, cat, kept, written, deferrable
):
    use_for_memory(monkeypatch, FoldingFileSystem)
    source = object_path(f"memory:///in/{kept}", None)
    source.fs.pipe_file(source.path, cat)
    run = upscale(input_path=f"memory:///in/{kept}", destination=f"memory:///in/{written}", deferrable=deferrable)
    assert_refused(run, segmind_emulator)
    assert source.fs.cat_file(source.path) == cat


def test_another_spelling_in_memory_is_another_object(upscale, tmp_path, segmind_emulator, cat):
    source = object_path(f"memory:///{tmp_path.name}/cat.jpg", None)
    source.fs.pipe_file(source.path, cat)
    base = f"memory:///{tmp_path.name}"
    assert upscale(input_path=f"{base}/cat.jpg", destination=f"{base}/CAT.jpg", deferrable=False).state == "success"
    assert source.fs.cat_file(source.path) == cat


@pytest.mark.parametrize(
    ("name", "destination", "options"),
    [
        ("cat.jpg.json", "cat.jpg", {"sidecar": True}),
        ("cat.jpg.json", "cat.jpg", {"skip_existing": True}),
        ("cat.webp.preview.webp", "cat.webp", {"previews": True}),
        ("cat.webp.before.webp", "cat.webp", {"previews": True}),
    ],
)
def test_what_is_written_beside_the_object(
    upscale, segmind_emulator, monkeypatch, tmp_path, cat, name, destination, options
):
    if options.pop("previews", False):
        monkeypatch.setenv("AIRFLOW__SEGMIND__SERVE_PREVIEWS", "True")
    (tmp_path / name).write_bytes(cat)
    run = upscale(input_path=f"file://{tmp_path}/{name}", destination=f"file://{tmp_path}/{destination}", **options)
    assert_refused(run, segmind_emulator)
    assert (tmp_path / name).read_bytes() == cat


def test_a_further_output_of_a_model_that_may_have_several(airflow_db, bucket, s3_server, segmind_emulator, cat):
    bucket.client.put_object(Bucket=BUCKET, Key="cat_1.png", Body=cat)
    with DAG("further", schedule=None) as dag:
        SegmindRunModelOperator(
            task_id="t",
            model="some-model",
            parameters={"image": f"{s3_server}/{BUCKET}/cat_1.png"},
            destination=f"s3://{CONN}@{BUCKET}/cat.png",
        )
    assert_refused(run_tasks(dag), segmind_emulator)


def test_an_item_of_a_batch_that_is_an_output_of_another(airflow_db, bucket, segmind_emulator, cat):
    """The folder of the outputs was listed for the inputs."""

    def url(key):
        return bucket.client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key})

    bucket.client.put_object(Bucket=BUCKET, Key="in/cat.jpg", Body=cat)
    destination = f"s3://{CONN}@{BUCKET}/in/"
    first = run_tasks(batch_dag("", [url("in/cat.jpg")], destination=destination))
    assert first.state == "success", first.log
    [output] = [key for key in bucket.objects() if key.startswith("in/cat-")]
    before = hashlib.sha256(bucket.read(output)).hexdigest()
    run = run_tasks(batch_dag("", [url("in/cat.jpg"), url(output)], destination=destination))
    assert run.state == "failed"
    assert "item 1 is" in run.log
    assert "which the output of an item may replace" in run.log
    assert len(segmind_emulator.requests) == 1
    assert hashlib.sha256(bucket.read(output)).hexdigest() == before


def test_a_transfer_keeps_what_it_reads(airflow_db, bucket, s3_server, segmind_emulator, cat):
    bucket.client.put_object(Bucket=BUCKET, Key="cat.jpg", Body=cat)
    result = {"request_id": "r", "model": "esrgan", "output": f"{s3_server}/{BUCKET}/cat.jpg"}
    with DAG("transfer", schedule=None) as dag:
        SegmindToObjectStorageOperator(task_id="t", result=result, destination=f"s3://{CONN}@{BUCKET}/cat.jpg")
    assert_refused(run_tasks(dag), segmind_emulator)
    assert bucket.writes() == 1
