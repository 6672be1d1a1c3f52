"""The vendor's own SDK, unchanged, as an independent check of the emulator.

Only addresses are changed: the gateway's through the SDK's own ``base_url``, the two other hosts in
the constants where the SDK keeps them.
"""

from __future__ import annotations

import importlib
import io

import pytest
from PIL import Image
from segmind import InferenceFailed, InferenceTimeout, SegmindClient, SegmindError  # type: ignore[import-untyped]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def sdk(emulator, monkeypatch):
    # The package's attributes of these names are shortcuts, not the modules.
    files, generations, pixelflows = map(
        importlib.import_module, ("segmind.files", "segmind.generations", "segmind.pixelflows")
    )
    monkeypatch.setattr(files.Files, "STORAGE_BASE_URL", emulator.url)
    history = f"{emulator.url}/inference-request/request-history"
    monkeypatch.setattr(generations, "REQUEST_HISTORY_URL", history)
    monkeypatch.setattr(pixelflows.PixelFlows, "workflows_base", f"{emulator.url}/workflows")
    client = SegmindClient(api_key=emulator.api_key, base_url=f"{emulator.url}/v1")
    yield client
    client._client.close()


def test_submit_and_wait(sdk, emulator, photos):
    emulator.reset(latency=0.1)
    job = sdk.submit_async("esrgan", image=emulator.add_image(photos / "cat.jpg"), scale="2")
    assert job.status()["status"] in ("QUEUED", "PROCESSING")
    body = job.wait(timeout=10, interval=0.05)
    assert body["status"] == "COMPLETED"
    assert body["metrics"]["cost"] == 0.005
    assert body["output"] == body["images"][0]["url"]
    assert emulator.stats.submits_accepted == 1


def test_run(sdk, emulator):
    assert sdk.run("echo-model", prompt="hello")["output"] == "echo: hello"


def test_failed(sdk, emulator):
    with pytest.raises(InferenceFailed) as caught:
        sdk.submit_async("nomos-upscaler", image="data:image/png;base64,aGk=").wait(timeout=10, interval=0.02)
    assert caught.value.detail is not None
    assert caught.value.detail.startswith("Could not decode the input image")
    assert caught.value.status_body["status"] == "FAILED"


def test_timeout(sdk, emulator):
    emulator.faults.add("submit", "stuck")
    with pytest.raises(InferenceTimeout):
        sdk.submit_async("echo-model").wait(timeout=0.2, interval=0.05)


def test_upload_and_upscale(sdk, emulator, photos):
    response = sdk.files.upload([photos / "cat.jpg", photos / "portrait-alpha.png"])
    assert len(response["file_urls"]) == 2
    job = sdk.submit_async("nomos-upscaler", image=response["file_urls"][0])
    body = job.wait(timeout=10, interval=0.02)
    assert body["images"][0]["content_type"] == "image/png"


def test_blocking_call(sdk, emulator, photos):
    response = sdk.run_sync("esrgan", image=emulator.add_image(photos / "cat.jpg"), output_format="webp")
    assert Image.open(io.BytesIO(response.content)).size == (600, 400)
    assert response.headers["x-cost"] == "0.005"


def test_credits(sdk, emulator):
    response = sdk._request("GET", "/get-user-credits")
    assert response.json() == {"credits": 100.0, "free-credits": 0.0}


def test_history(sdk, emulator):
    job = sdk.submit_async("echo-model", prompt="hello")
    job.wait(timeout=5, interval=0.02)
    (row,) = sdk.generations.history(model_name="echo", status="COMPLETED")["data"]
    assert row["request_id"] == job.request_id
    assert sdk.generations.get(job.request_id) == row
    with pytest.raises(SegmindError) as caught:
        sdk.generations.get("unknown")
    assert caught.value.status == 404


def test_pixelflow(sdk, emulator):
    body = sdk.pixelflows.run(workflow_id="my-flow", data={"prompt": "hello"}, poll_interval=0)
    assert body["output"] == [{"keyname": "text", "value": "echo: hello"}]


@pytest.mark.parametrize(("model", "status"), [("retired-model", 410), ("none", 404), ("forbidden-model", 403)])
def test_refusals(sdk, model, status):
    with pytest.raises(SegmindError) as caught:
        sdk.submit_async(model)
    assert caught.value.status == status
    assert caught.value.detail


def test_bad_key(emulator):
    client = SegmindClient(api_key="SG_bad", base_url=f"{emulator.url}/v1")
    with pytest.raises(SegmindError) as caught:
        client.submit_async("echo-model")
    assert caught.value.status == 401


def test_response_without_the_three_fields(sdk, emulator):
    emulator.faults.add("submit", "missing_fields", times=1)
    with pytest.raises(SegmindError, match="missing request_id"):
        sdk.submit_async("echo-model")
