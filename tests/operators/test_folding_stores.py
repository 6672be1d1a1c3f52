"""Outputs of mapped tasks and of workflows whose names a store takes for one."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.protocol.outputs import output_files
from airflow_provider_segmind.protocol.wire import Result
from airflow_provider_segmind.protocol.workflow_outputs import free_name
from tests.buckets import BUCKET, CONN
from tests.folding import CaseFolding, FoldingFileSystem, FormFolding, use_for_memory

NFC, NFD = "caf\u00e9.jpg", "cafe\u0301.jpg"


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [(FoldingFileSystem, "Cat.jpg", "cat.jpg"), (CaseFolding, "Cat.jpg", "cat.JPG"), (FormFolding, NFC, NFD)],
)
def test_mapped_tasks_in_a_store_that_folds_names(
    upscale, monkeypatch, segmind_emulator, photos, kind, one, other, deferrable
):
    use_for_memory(monkeypatch, kind)
    run = upscale(
        expand={"destination": [f"memory:///out/{name}" for name in (one, other)]},
        input_path=f"file://{photos}/cat.jpg",
        deferrable=deferrable,
    )
    assert sorted(run.states()["t"]) == ["failed", "success"]
    assert "have the same destination" in run.log
    assert "are one object in this store" in run.log
    assert segmind_emulator.stats.submits_attempted == 1


@pytest.mark.parametrize(("one", "other"), [("Cat.jpg", "cat.jpg"), (NFC, NFD)])
@pytest.mark.parametrize("base", ["file://{tmp}", f"s3://{CONN}@{BUCKET}", "memory:///{name}"])
def test_mapped_tasks_in_a_store_that_folds_nothing(upscale, bucket, tmp_path, photos, base, one, other):
    base = base.replace("{tmp}", str(tmp_path)).replace("{name}", tmp_path.name)
    run = upscale(
        expand={"destination": [f"{base}/{name}" for name in (one, other)]},
        input_path=f"file://{photos}/cat.jpg",
        deferrable=False,
    )
    assert run.states()["t"] == ["success", "success"]
    if base.startswith("file"):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([one, other])


def test_mapped_tasks_with_two_spellings_of_one_path(upscale, bucket, tmp_path, photos):
    (tmp_path / "a").mkdir()
    for pair in (
        [f"file://{tmp_path}/a/x.jpg", f"file://{tmp_path}/a/../a/x.jpg"],
        [f"s3://{CONN}@{BUCKET}/x.jpg", f"s3://other_s3@{BUCKET}/x.jpg"],
    ):
        run = upscale(expand={"destination": pair}, input_path=f"file://{photos}/cat.jpg", deferrable=False)
        assert sorted(run.states()["t"]) == ["failed", "success"]


def test_mapped_inputs_that_differ_in_case(upscale, monkeypatch, segmind_emulator, tmp_path, photos):
    use_for_memory(monkeypatch, FoldingFileSystem)
    for name in ("Cat.jpg", "cat.jpg"):
        (tmp_path / name).write_bytes((photos / "cat.jpg").read_bytes())
    run = upscale(
        expand={"input_path": [f"file://{tmp_path}/{name}" for name in ("Cat.jpg", "cat.jpg")]},
        destination="memory:///out/{stem}.{ext}",
    )
    assert sorted(run.states()["t"]) == ["failed", "success"]
    assert segmind_emulator.stats.submits_attempted == 1


def test_a_probe_leaves_nothing(upscale, monkeypatch, photos):
    found = use_for_memory(monkeypatch, FoldingFileSystem)
    upscale(
        expand={"destination": ["memory:///out/A.jpg", "memory:///out/a.jpg"]},
        input_path=f"file://{photos}/cat.jpg",
        deferrable=False,
    )
    assert [name.rpartition("/")[2] for name in found.store] == ["a.jpg"]


def test_the_outputs_of_a_workflow_have_different_names():
    result = Result(request_id="r", model="w", named={"Cat": "a", "cat": "b", "CAT_1": "c", "caf\u00e9": "d"})
    suffixes = [source.suffix for source in output_files(result)]
    assert suffixes == ["_Cat", "_cat_1", "_CAT_1_1", "_caf"]
    assert len({suffix.casefold() for suffix in suffixes}) == 4


def test_a_free_name():
    assert free_name("a", {"A": 1}) == "a"
    assert free_name("a", {"A": 1}, folds=True) == "a_1"
    assert free_name("a", ["A", "A_1"], folds=True) == "a_2"
