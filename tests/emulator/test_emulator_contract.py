"""The emulator's responses have the keys and types of the examples in ``tests/wire``."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_segmind.emulator.catalogue import KNOWN
from airflow_provider_segmind.protocol.models import MODELS

OPTIONAL = {"seed", "timings", "retry_count"}  # sent only sometimes
AS_SENT = {"request_body"}  # whatever the caller sent


def shape(value: Any) -> Any:
    """Return keys and types without values. Whole numbers and fractions are one type in JSON."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key not in OPTIONAL | AS_SENT}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def agree(response: Any, example: dict[str, Any]) -> None:
    assert response.status_code == example["status"]
    assert response.headers["content-type"] == example["headers"]["content-type"]
    if isinstance(example["body"], str):
        assert response.text == example["body"]
    else:
        assert shape(response.json()) == shape(example["body"])


def test_submission_and_states(api, emulator, wire):
    emulator.reset(latency=10, queue_share=0.5)
    response = api.post("/v2/echo-model", {"prompt": "hello"})
    agree(response, wire("submit_queued"))
    body = response.json()
    assert body["poll_url"] == f"{emulator.url}/v1/requests/{body['request_id']}"

    agree(api.status(body["request_id"]), wire("status_queued"))
    assert api.status(body["request_id"]).json()["status"] == "QUEUED"
    emulator.advance(6)
    agree(api.get(body["status_url"]), wire("status_processing"))
    agree(api.get(body["response_url"]), wire("result_processing"))
    assert api.get(body["poll_url"]).json()["status"] == "PROCESSING"
    emulator.advance(6)
    agree(api.get(body["status_url"]), wire("status_completed"))
    agree(api.get(body["response_url"]), wire("result_text_completed"))
    agree(api.get(body["poll_url"]), wire("result_text_completed"))
    metrics = api.get(body["response_url"]).json()["metrics"]
    assert metrics["queue_time"] == 5
    assert metrics["inference_time"] == 5
    assert metrics["total_time"] == 10


def test_failed_is_422_on_every_read_and_costs_nothing(api, emulator, wire):
    request_id = api.submit("esrgan", image=f"{emulator.url}/assets/none.png")
    agree(api.finish(request_id), wire("result_failed_422"))
    agree(api.status(request_id), wire("status_failed_422"))
    assert api.get(f"/v1/requests/{request_id}").status_code == 422
    assert api.result(request_id).json()["error"] == "Could not fetch the input image: HTTP 404"
    assert api.get("/v1/get-user-credits").json()["credits"] == 100.0


@pytest.mark.parametrize(
    ("example", "model", "parameters"),
    [
        ("result_esrgan_completed", "esrgan", {}),
        ("result_nomos_completed", "nomos-upscaler", {}),
        ("result_nomos_base64", "nomos-upscaler", {"base64": True}),
        ("result_bria_completed", "bria-increase-resolution", {}),
        ("result_text_completed", "echo-model", {}),
        ("result_video_completed", "video-model", {}),
    ],
)
def test_completed_bodies(api, emulator, photos, wire, example, model, parameters):
    image = emulator.add_image(photos / "cat.jpg")
    agree(api.finish(api.submit(model, image=image, **parameters)), wire(example))


def test_workflow(api, emulator, photos, wire):
    image = emulator.add_image(photos / "cat.jpg")
    for path in ("/workflows/v2/my-flow", "/workflows/my-flow"):
        response = api.post(path, {"input_image": image})
        agree(response, wire("submit_queued"))
        agree(api.finish(response.json()["request_id"]), wire("result_workflow_completed"))
    assert api.get(f"/workflows/request/{response.json()['request_id']}").json()["status"] == "COMPLETED"


def test_credits(api, emulator, wire):
    agree(api.get("/v1/get-user-credits"), wire("credits"))
    emulator.reset(balance_record=False)
    example = wire("credits_404")
    response = api.get("/v1/get-user-credits")
    agree(response, example)
    assert response.json() == example["body"]


def test_upload(api, emulator, wire):
    images = ["data:image/png;base64,aGVsbG8=", "data:image/jpeg;base64,d29ybGQ="]
    response = api.post("/upload-asset", {"data_urls": images})
    agree(response, wire("upload_file_urls"))
    first, second = response.json()["file_urls"]
    assert first.startswith(f"{emulator.url}/assets/")
    assert first.endswith(".png")
    assert second.endswith((".jpg", ".jpeg"))
    assert api.get(first, headers={"x-api-key": ""}).content == b"hello"
    emulator.reset(upload_key="urls")
    agree(api.post("/upload-asset", {"data_urls": images}), wire("upload_urls"))


@pytest.mark.parametrize("body", [{}, {"data_urls": []}, {"data_urls": [7]}, {"data_urls": ["data:x;base64,?"]}])
def test_upload_refused(api, body):
    assert api.post("/upload-asset", body).status_code == 400


def test_history_bodies(api, emulator, wire):
    done = api.submit("video-model", image="x")
    broken = api.submit("esrgan", image="http://127.0.0.1:9/none.png")
    api.finish(done)
    api.finish(broken)
    agree(api.get(f"/inference-request/request-history/{done}"), wire("history_row"))
    agree(api.get(f"/inference-request/request-history/{broken}"), wire("history_row_failed"))
    agree(api.get("/inference-request/request-history/unknown"), wire("history_row_404"))
    page = api.get("/inference-request/request-history").json()
    assert shape(page).keys() == shape(wire("history_page")["body"]).keys()
    assert page["data"][0].keys() == wire("history_page")["body"]["data"][0].keys()


def test_blocking_call(api, emulator, photos, wire):
    image = emulator.add_image(photos / "cat.jpg")
    response = api.post("/v1/esrgan", {"image": image})
    example = wire("sync_esrgan")
    assert response.status_code == 200
    assert response.content.startswith(b"\xff\xd8")
    assert example["headers"].keys() <= response.headers.keys()
    assert response.headers["content-type"] == "image/jpeg"
    assert float(response.headers["x-cost"]) == 0.005
    assert float(response.headers["x-remaining-credits"]) == 99.995
    assert emulator.stats.sync_calls == emulator.stats.submits_attempted == 1
    assert emulator.stats.billed == 1
    assert api.post("/v1/esrgan", {"image": "http://127.0.0.1:9/none.png"}).status_code == 422
    assert api.post("/v1/echo-model", {"prompt": "hi"}).json() == {"output": "echo: hi"}


def test_blocking_call_follows_the_clock(api, emulator):
    emulator.reset(latency=0.3)
    response = api.post("/v1/echo-model")
    assert response.elapsed.total_seconds() >= 0.3


@pytest.mark.parametrize(
    ("example", "path", "options"),
    [
        ("error_400", "/v2/esrgan", {"json": {"scale": 2}}),
        ("error_400", "/v1/esrgan", {"json": {"image": None}}),
        ("error_400_malformed", "/v2/esrgan", {"content": b"{", "headers": {"content-type": "application/json"}}),
        ("error_400_malformed", "/v2/esrgan", {"json": [1]}),
        ("error_401_missing", "/v2/esrgan", {"json": {}, "headers": {"x-api-key": ""}}),
        ("error_401_invalid", "/v2/esrgan", {"json": {}, "headers": {"x-api-key": "SG_bad"}}),
        ("error_403", "/v2/forbidden-model", {"json": {}}),
        ("error_404_model", "/v2/no-such-model", {"json": {}}),
        ("error_406_value", "/v2/esrgan", {"json": {"image": "https://x/y.png", "scale": 3}}),
        ("error_406_value", "/v2/esrgan", {"json": {"image": "https://x/y.png", "scale": True}}),
        ("error_406_value", "/v2/esrgan", {"json": {"image": "https://x/y.png", "quality": 9}}),
        ("error_406_value", "/v2/esrgan", {"json": {"image": "https://x/y.png", "quality": 101}}),
        ("error_406_value", "/v2/esrgan", {"json": {"image": "https://x/y.png", "output_format": "gif"}}),
        ("error_406_value", "/v2/nomos-upscaler", {"json": {"image": "aGk=", "base64": "yes"}}),
        ("error_406_image", "/v2/bria-increase-resolution", {"json": {"image": "data:image/png;base64,aGk="}}),
        ("error_406_image", "/v2/esrgan", {"json": {"image": "data:image/png;base64,aGk="}}),
        ("error_406_image", "/v2/esrgan", {"json": {"image": "aGk="}}),
        ("error_406_image", "/v1/esrgan", {"json": {"image": "file:///etc/passwd"}}),
        ("error_406_content_type", "/v2/esrgan", {"content": b"{}", "headers": {"content-type": "text/plain"}}),
        ("error_410", "/v2/retired-model", {"json": {}}),
    ],
)
def test_errors(api, emulator, wire, example, path, options):
    response = api.http.post(path, **options)
    agree(response, wire(example))
    if example in ("error_401_missing", "error_403", "error_404_model", "error_406_content_type", "error_410",
                   "error_406_image"):  # fmt: skip
        assert response.json() == wire(example)["body"]
    assert emulator.stats.submits_accepted == 0
    assert not emulator.requests


def test_the_emulator_and_the_table_of_models_agree():
    """There are two tables, because the emulator imports nothing of the package."""
    known = {model.slug: model for model in KNOWN if model.makes == "image"}
    assert known.keys() == MODELS.keys()
    for slug, model in MODELS.items():
        assert known[slug].takes_base64 is model.takes_base64
        assert [parameter.name for parameter in known[slug].parameters] == list(model.model_fields)
        for parameter in known[slug].parameters:
            field = model.model_fields[parameter.name]
            assert parameter.required is field.is_required()
            assert field.is_required() or parameter.default == field.default


def test_a_large_body_is_refused_with_an_response(api, wire):
    """The connection must not close while the client is still sending."""
    data_urls = ["data:image/png;base64," + "A" * 8_000_000]
    response = api.post("/upload-asset", {"data_urls": data_urls}, headers={"x-api-key": "SG_bad"})
    agree(response, wire("error_401_invalid"))


def test_bearer_token_is_refused(api, wire):
    response = api.get(
        "/v1/get-user-credits", headers={"x-api-key": "", "authorization": f"Bearer {api.emulator.api_key}"}
    )
    agree(response, wire("error_401_invalid"))


def test_any_key_of_the_usual_form_and_the_configured_one(emulator, api):
    emulator.reset(api_key="my own key")
    assert emulator.api_key == "my own key"
    for key, status in [("my own key", 200), ("SG_" + "ab" * 8, 200), ("SG_" + "a" * 15, 401), ("other", 401)]:
        assert api.get("/v1/get-user-credits", headers={"x-api-key": key}).status_code == status


def test_wrong_verb_is_html(api, wire):
    for verb, path in [("GET", "/v2/esrgan"), ("PUT", "/v2/esrgan"), ("DELETE", "/v2/requests/x")]:
        agree(api.http.request(verb, path), wire("error_405"))


def test_unknown_request(api, wire):
    for path in ("/v2/requests/x", "/v2/requests/x/status", "/v1/requests/x"):
        response = api.get(path)
        agree(response, wire("error_404_request"))
        assert response.json() == wire("error_404_request")["body"]
    assert api.get("/somewhere/else").json() == {"error": "Not found"}


def test_extra_models(api, emulator, photos):
    emulator.reset(extra_models=["my-upscaler"])
    image = emulator.add_image(photos / "cat.jpg")
    assert api.run("my-upscaler", source=image)["images"][0]["content_type"] == "image/png"
    assert api.run("my-upscaler", prompt="hi")["output"] == "echo: hi"
