"""Every example, run unchanged: real tasks, real triggers, real pixels, local files."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.airflow_versions import needs_airflow_sdk, needs_events_since
from tests.dags_examples.checks import check_result, check_stored, files_of, path_of

if TYPE_CHECKING:
    from airflow_provider_segmind.emulator import Emulator
    from tests.airflow_env import Run

    RunExample = Callable[..., Run]

pytestmark = needs_airflow_sdk


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_esrgan(run_example: RunExample, segmind_emulator: Emulator, photos: Path, out: Path) -> None:
    image = segmind_emulator.add_image(photos / "cat.jpg")
    run = run_example("esrgan", image=image, scale=4, output_format="webp", destination=f"file://{out}/")
    assert run.states() == {"store": ["success"], "upscale": ["success"]}
    check_result(run.xcom("upscale"), segmind_emulator, model="esrgan", stored=False)
    assert run.xcom("upscale", key="request_id") == run.xcom("upscale")["request_id"]

    result = run.xcom("store")
    check_result(result, segmind_emulator, model="esrgan", stored=True)
    path = check_stored(result["stored"][0], size=(1200, 800), kind="image/webp")
    assert files_of(out) == {"store.webp"}
    [request] = segmind_emulator.requests
    assert request.parameters == {"image": image, "scale": 4, "output_format": "webp", "quality": 95}

    # Clear the store task: it leaves the object as it is, and nothing is billed.
    before = path.stat()
    again = run.again("store")
    assert again.state == "success"
    assert again.task("store").try_number == 2
    assert again.xcom("store") == result
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert segmind_emulator.stats.submits_accepted == segmind_emulator.stats.billed == 1

    # If the object is deleted, a clear writes it again.
    path.unlink()
    assert run.again("store").xcom("store") == result
    assert files_of(out) == {"store.webp"}
    assert segmind_emulator.stats.submits_attempted == 1


def test_nomos(run_example: RunExample, segmind_emulator: Emulator, photos: Path, out: Path) -> None:
    image = segmind_emulator.add_image(photos / "astronaut.png")
    run = run_example("nomos_upscaler", image=image, image_format="jpg", destination=f"file://{out}/big.jpg")
    assert run.states() == {"report": ["success"], "upscale": ["success"]}
    result = run.xcom("upscale")
    check_result(result, segmind_emulator, model="nomos-upscaler", stored=True)
    check_stored(result["stored"][0], size=(1024, 1024), kind="image/jpeg")
    assert files_of(out) == {"big.jpg"}
    cost, seconds = result["metrics"]["cost"], result["metrics"]["total_time"]
    assert f"big.jpg: 1024 x 1024 pixels for {cost} credits in {seconds} s" in run.log
    assert segmind_emulator.stats.submits_accepted == segmind_emulator.stats.downloads == 1


def test_bria(run_example: RunExample, segmind_emulator: Emulator, photos: Path, out: Path) -> None:
    image = segmind_emulator.add_image(photos / "portrait-alpha.png")
    run = run_example("bria_increase_resolution", image=image, desired_increase=2, destination=f"file://{out}/")
    assert run.states() == {"upscale": ["success"]}
    result = run.xcom("upscale")
    check_result(result, segmind_emulator, model="bria-increase-resolution", stored=True)
    path = check_stored(result["stored"][0], size=(512, 512), kind="image/png")
    with Image.open(path) as photo:
        assert photo.mode == "RGBA"
    [request] = segmind_emulator.requests
    assert request.parameters == {
        "image": image,
        "desired_increase": 2,
        "preserve_alpha": True,
        "visual_input_content_moderation": False,
        "visual_output_content_moderation": False,
    }


def test_bria_blocked_by_moderation(
    run_example: RunExample, segmind_emulator: Emulator, photos: Path, out: Path
) -> None:
    """As documented in the example: the task fails, is not retried and costs nothing."""
    image = segmind_emulator.add_image(photos / "cat.jpg", name="blocked-cat.jpg")
    run = run_example("bria_increase_resolution", image=image, moderate_input=True, destination=f"file://{out}/")
    assert run.state == "failed"
    assert run.task("upscale").try_number == 1
    assert segmind_emulator.stats.submits_accepted == 1
    assert segmind_emulator.stats.billed == 0
    assert not out.exists()


def test_split_pipeline(run_example: RunExample, segmind_emulator: Emulator, photos: Path, out: Path) -> None:
    images = [segmind_emulator.add_image(photos / name) for name in ("cat.jpg", "astronaut.png")]
    run = run_example("split_pipeline", images=images, destination=f"file://{out}/")
    twice = ["success", "success"]
    assert run.states() == {"list_images": ["success"], "store": twice, "submit": twice, "wait": twice}
    for index, size in enumerate([(600, 400), (512, 512)]):
        result = run.xcom("wait", index)
        check_result(result, segmind_emulator, model="esrgan", stored=False)
        assert result["request_id"] == run.xcom("submit", index)
        stored = run.xcom("store", index)
        check_result(stored, segmind_emulator, model="esrgan", stored=True)
        check_stored(stored["stored"][0], size=size, kind="image/png")
    assert files_of(out) == {"store_0.png", "store_1.png"}

    # A clear of wait and store bills nothing.
    assert run.again("wait", "store").state == "success"
    assert segmind_emulator.stats.submits_attempted == segmind_emulator.stats.billed == 2


def test_taskflow(run_example: RunExample, segmind_emulator: Emulator, photos: Path, out: Path) -> None:
    widths = {"cat.jpg": 300, "astronaut.png": 256, "portrait-alpha.png": 1000}
    inputs = [{"image": segmind_emulator.add_image(photos / name), "width": width} for name, width in widths.items()]
    run = run_example("taskflow", images=inputs, width=1100, destination=f"file://{out}/")
    thrice = ["success"] * 3
    assert run.states() == {"list_images": ["success"], "report": ["success"], "upscale": thrice}
    assert sorted(request.parameters["scale"] for request in segmind_emulator.requests) == [2, 4, 8]
    for index, size in enumerate([(1200, 800), (2048, 2048), (512, 512)]):
        result = run.xcom("upscale", index)
        check_result(result, segmind_emulator, model="esrgan", stored=True)
        check_stored(result["stored"][0], size=size, kind="image/png")
    assert run.xcom("report") == 0.015
    assert files_of(out) == {"upscale_0.png", "upscale_1.png", "upscale_2.png"}


def test_budget(run_example: RunExample, segmind_emulator: Emulator, photos: Path, out: Path) -> None:
    images = [segmind_emulator.add_image(photos / name) for name in ("cat.jpg", "astronaut.png")]
    run = run_example("budget", images=images, budget=0.01, destination=f"file://{out}/")
    states = {"afford": ["success"], "list_images": ["success"], "upscale": ["success"] * 2}
    assert run.states() == states | {"total": ["success"]}
    for index in range(2):
        check_result(run.xcom("upscale", index), segmind_emulator, model="esrgan", stored=True)
    assert run.xcom("total") == 0.01
    assert run.xcom("afford") == segmind_emulator.settings.credits
    assert files_of(out) == {"upscale_0.jpg", "upscale_1.jpg"}

    # Over the budget: the run fails without a retry.
    over = run_example("budget", images=images, budget=0.0099, destination=f"file://{out}/")
    assert over.states() == states | {"total": ["failed"]}
    assert over.task("total").try_number == 1
    assert "2 images cost 0.01 USD, the budget is 0.0099" in over.log
    assert segmind_emulator.stats.billed == 4

    # A balance below the budget: nothing is submitted.
    poor = run_example("budget", images=images, budget=1000, destination=f"file://{out}/")
    assert poor.state == poor.states()["afford"][0] == "failed"
    assert poor.task("afford").try_number == 1
    assert segmind_emulator.stats.submits_attempted == 4


def test_upscale_folder(run_example: RunExample, segmind_emulator: Emulator, image_folder: Path, out: Path) -> None:
    run = run_example("upscale_folder", source=f"file://{image_folder}", destination=f"file://{out}")
    twice = ["success", "success"]
    assert run.states() == {"list_images": ["success"], "bria": twice, "esrgan": twice, "nomos": twice}
    assert [path_of(uri).name for uri in run.xcom("list_images")] == ["a cat.JPG", "portrait-alpha.png"]
    inputs = [(300, 200), (256, 256)]
    for task_id, model, factor in (
        ("esrgan", "esrgan", 2),
        ("nomos", "nomos-upscaler", 4),
        ("bria", "bria-increase-resolution", 2),
    ):
        for index, (width, height) in enumerate(inputs):
            result = run.xcom(task_id, index)
            check_result(result, segmind_emulator, model=model, stored=True)
            [stored] = result["stored"]
            path = check_stored(stored, size=(width * factor, height * factor), kind="image/png")
            assert path == out / task_id / f"{task_id}_{index}.png"
            assert run.task(task_id, index).rendered_map_index == ("a cat.JPG", "portrait-alpha.png")[index]
    assert len(files_of(out)) == 6
    stats = segmind_emulator.stats
    assert stats.submits_attempted == stats.submits_accepted == stats.billed == stats.downloads == 6
    assert stats.keys_seen_on_downloads == stats.keys_seen_elsewhere == 0


def test_an_empty_folder_skips_the_upscaling_tasks(
    run_example: RunExample, segmind_emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    run = run_example("upscale_folder", source=f"file://{tmp_path}/images", destination=f"file://{tmp_path}/out")
    assert run.state == "success"
    assert run.states()["esrgan"] == ["skipped"]
    assert segmind_emulator.stats.submits_attempted == 0


@needs_events_since
def test_daily_folder_and_contact_sheet(
    run_example: RunExample, segmind_emulator: Emulator, image_folder: Path, tmp_path: Path, out: Path
) -> None:
    """Both DAGs are run by hand; tests/e2e/test_lineage.py tests that the events start the second one."""
    day = datetime.now(UTC).date().isoformat()
    source = tmp_path / "days"
    shutil.copytree(image_folder, source / day)
    run = run_example("daily_folder", source=f"file://{source}", destination=f"file://{out}")
    assert run.states() == {"list_images": ["success"], "upscale": ["success", "success"]}
    names = {f"{day}/a cat.png", f"{day}/portrait-alpha.png"}
    assert files_of(out) == names | {f"{name}.json" for name in names}

    sheet = run_example("contact_sheet", width=100, columns=1)
    assert sheet.states() == {"list_new": ["success"], "make_sheets": ["success"], "make_thumbnail": ["success"] * 2}
    assert sheet.xcom("make_sheets") == [f"file://{out}/{day}/contact-sheet.jpg"]
    for name, size in {"contact-sheet": (100, 200), "thumbnails/a cat": (100, 67)}.items():
        with Image.open(out / day / f"{name}.jpg") as photo:
            assert photo.size == size

    # The same day again: nothing is submitted, and no event is emitted.
    again = run_example("daily_folder", source=f"file://{source}", destination=f"file://{out}")
    assert [again.xcom("upscale", index)["skipped"] for index in (0, 1)] == [True, True]
    assert segmind_emulator.stats.submits_accepted == 2
