"""Every fault, as a client sees it over a real connection."""

from __future__ import annotations

import httpx
import pytest

from airflow_provider_segmind.emulator.faults import Fault, parse_faults

PATHS = {
    "submit": ("POST", "/v2/echo-model"),
    "sync": ("POST", "/v1/echo-model"),
    "status": ("GET", "/v2/requests/{id}/status"),
    "result": ("GET", "/v2/requests/{id}"),
    "credits": ("GET", "/v1/get-user-credits"),
    "upload": ("POST", "/upload-asset"),
    "history": ("GET", "/inference-request/request-history"),
    "output": ("GET", "/outputs/{id}.mp4"),
    "asset": ("GET", "/assets/none"),
}


def call(api, route: str) -> httpx.Response:
    request_id = api.submit("video-model")
    verb, path = PATHS[route]
    body = {"data_urls": ["data:image/png;base64,aGk="]} if route == "upload" else {}
    response: httpx.Response = api.http.request(verb, path.format(id=request_id), json=body if verb == "POST" else None)
    return response


@pytest.fixture
def strike(api, emulator):
    """Add a fault that does not apply to the submit which prepares the test."""

    def strike(route, kind, **options):
        model = "echo-model" if route in ("submit", "sync") else None
        emulator.faults.add(route, kind, model=model, **options)

    return strike


@pytest.mark.parametrize("route", PATHS)
def test_status_on_every_route(api, emulator, strike, wire, route):
    strike(route, "status:502", times=1)
    before = emulator.stats.submits_accepted
    response = call(api, route)
    assert (response.status_code, response.json()) == (502, wire("error_502")["body"])
    assert emulator.stats.submits_accepted == before + 1  # the one in call() itself
    assert call(api, route).status_code != 502
    assert emulator.stats.faults_fired == 1


@pytest.mark.parametrize("route", PATHS)
def test_dropped_connection_on_every_route(api, strike, route):
    strike(route, "drop_before", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        call(api, route)
    assert call(api, route).status_code in (200, 404)


def test_drop_before_and_after(api, emulator):
    for kind, accepted in (("drop_before", 0), ("drop_after", 1)):
        emulator.reset()
        emulator.faults.add("submit", kind, times=1)
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            api.post("/v2/echo-model", {"prompt": "lost"})
        assert emulator.stats.submits_attempted == 1
        assert emulator.stats.submits_accepted == accepted
        assert emulator.stats.billed == accepted
        rows = api.get("/inference-request/request-history").json()["data"]
        assert [row["request_body"] for row in rows] == [{"prompt": "lost"}] * accepted


def test_status_with_headers_and_body(api, emulator):
    emulator.faults.add("submit", "status:429", headers={"Retry-After": "7"}, body={"error": "slow"}, times=1)
    emulator.faults.add("submit", "status:503", body="<plain>", times=1)
    response = api.post("/v2/echo-model")
    assert (response.status_code, response.headers["retry-after"], response.json()) == (429, "7", {"error": "slow"})
    response = api.post("/v2/echo-model")
    assert (response.status_code, response.text) == (503, "<plain>")
    assert api.post("/v2/echo-model").status_code == 200


def test_garbage(api, emulator):
    emulator.faults.add("submit", "garbage", times=1)
    response = api.post("/v2/echo-model")
    assert response.status_code == 200
    with pytest.raises(ValueError, match=r"utf|codec|Expecting"):
        response.json()
    assert emulator.stats.submits_accepted == 1


def test_truncated_output(api, emulator, photos):
    output = api.run("esrgan", image=emulator.add_image(photos / "cat.jpg"))["output"]
    emulator.faults.add("output", "truncate", times=1)
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete"):
        api.get(output)
    assert api.get(output).content.startswith(b"\xff\xd8")
    assert emulator.stats.downloads == 2


def test_an_output_without_its_length(api, emulator, photos):
    output = api.run("esrgan", image=emulator.add_image(photos / "cat.jpg"))["output"]
    emulator.faults.add("output", "cut", times=1)
    half, whole = api.get(output), api.get(output)
    assert half.status_code == 200
    assert "content-length" not in half.headers
    assert half.content == whole.content[: len(whole.content) // 2]


def test_an_output_under_another_status(api, emulator, photos):
    output = api.run("esrgan", image=emulator.add_image(photos / "cat.jpg"))["output"]
    whole = api.get(output).content
    for fault in ("success:203", "success:206", "partial", "status:404", "empty"):
        emulator.faults.add("output", fault, times=1)
    found = [api.get(output) for _ in range(6)]
    assert [response.status_code for response in found] == [203, 206, 206, 404, 200, 200]
    assert [response.headers.get("content-range") for response in found[:3]] == [
        None,
        f"bytes 0-{len(whole) - 1}/{len(whole)}",
        f"bytes 0-{len(whole) // 2 - 1}/{len(whole)}",
    ]
    assert [response.content for response in found] == [
        whole,
        whole,
        whole[: len(whole) // 2],
        b'{"error":"Not Found"}',
        b"",
        whole,
    ]
    assert {response.headers["content-type"] for response in found[:3]} == {"image/jpeg"}


def test_drops_leave_no_trace_in_the_log(api, emulator, caplog):
    emulator.faults.add("credits", "drop_before", times=3)
    emulator.faults.add("credits", "truncate", times=3)
    for _ in range(6):
        with pytest.raises(httpx.RemoteProtocolError):
            api.get("/v1/get-user-credits")
    assert api.get("/v1/get-user-credits").status_code == 200
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


def test_a_blocking_call_that_never_ends(api, emulator):
    emulator.faults.add("sync", "stuck")
    with pytest.raises(httpx.ReadTimeout):
        api.post("/v1/echo-model", timeout=0.2)
    assert emulator.stats.submits_accepted == 1
    assert emulator.stats.billed == 0


def test_redirect(api, emulator):
    emulator.faults.add("status", f"redirect:{emulator.url}/elsewhere", times=1)
    response = api.status("x")
    assert response.status_code == 307
    assert response.headers["location"] == f"{emulator.url}/elsewhere"
    assert emulator.stats.keys_seen_elsewhere == 0
    api.get(response.headers["location"])  # what a client must not do
    assert emulator.stats.keys_seen_elsewhere == 1


def test_html(api, emulator):
    emulator.faults.add("credits", "html", times=1)
    emulator.faults.add("credits", "html:503", times=1)
    for status in (200, 503):
        response = api.get("/v1/get-user-credits")
        assert response.status_code == status
        assert response.headers["content-type"].startswith("text/html")


def test_delay(api, emulator):
    emulator.faults.add("credits", "delay:0.3", times=1)
    with pytest.raises(httpx.ReadTimeout):
        api.get("/v1/get-user-credits", timeout=0.1)
    assert api.get("/v1/get-user-credits").status_code == 200


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [("stuck", "PROCESSING", 200), ("unknown_status", "PAUSED", 200), ("unknown_status:WAITING", "WAITING", 200),
     ("fail:out of memory", "FAILED", 422)],
)  # fmt: skip
def test_job_faults_last(api, emulator, kind, status, code):
    emulator.faults.add("submit", kind, times=1)
    request_id = api.submit("echo-model")
    for _ in range(3):
        emulator.advance(100)
        for response in (api.status(request_id), api.result(request_id)):
            assert (response.status_code, response.json()["status"]) == (code, status)
            assert "output" not in response.json()
            assert "cost" not in response.json()["metrics"]
    assert emulator.stats.billed == 0
    if status == "FAILED":
        assert response.json()["error"] == "out of memory"
    assert api.run("echo-model")["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("kind", "status"), [("stuck", "PROCESSING"), ("unknown_status", "PAUSED"), ("fail:x", "FAILED")]
)
def test_the_same_on_one_response_only(api, emulator, kind, status):
    request_id = api.submit("echo-model")
    emulator.faults.add("status", kind, times=1)
    assert api.status(request_id).json()["status"] == status
    assert api.status(request_id).json()["status"] == "COMPLETED"


def test_no_output(api, emulator, photos):
    image = emulator.add_image(photos / "cat.jpg")
    emulator.faults.add("submit", "no_output", times=1)
    body = api.run("esrgan", image=image)
    assert body["status"] == "COMPLETED"
    assert "output" not in body
    request_id = api.submit("esrgan", image=image)
    api.finish(request_id)
    emulator.faults.add("result", "no_output", times=1)
    assert "output" not in api.result(request_id).json()
    assert "output" in api.result(request_id).json()


def test_missing_fields(api, emulator, wire):
    emulator.faults.add("submit", "missing_fields", times=1)
    response = api.post("/v2/echo-model")
    assert response.status_code == 200
    assert response.json().keys() == wire("submit_missing_fields")["body"].keys()
    assert emulator.stats.submits_accepted == 1


def test_probability_is_seeded_and_model_filters(api, emulator):
    def statuses() -> list[int]:
        emulator.reset(seed=7, faults="submit:502@0.5%echo-model")
        assert api.post("/v2/video-model").status_code == 200
        return [api.post("/v2/echo-model").status_code for _ in range(30)]

    first = statuses()
    assert first == statuses()
    assert 5 < first.count(502) < 25


def test_model_filter_applies_to_calls_with_a_request_id(api, emulator):
    emulator.faults.add("status", "500", model="video-model")
    assert api.status(api.submit("echo-model")).status_code == 200
    assert api.status(api.submit("video-model")).status_code == 500


def test_any_route(api, emulator):
    emulator.faults.add("any", "503", times=2)
    assert api.get("/v1/get-user-credits").status_code == 503
    assert api.post("/v2/echo-model").status_code == 503
    assert api.post("/v2/echo-model").status_code == 200


def test_faults_over_http(api, emulator):
    response = api.post("/_emulator/faults", {"route": "submit", "kind": "status:503", "times": 1})
    assert response.json()[0]["argument"] == "503"
    response = api.post("/_emulator/faults", {"faults": "credits:500, status:stuck#2"})
    assert len(response.json()) == 3
    assert api.get("/_emulator/faults").json() == response.json()
    assert api.post("/v2/echo-model").status_code == 503
    assert api.http.delete("/_emulator/faults").status_code == 200
    assert api.get("/_emulator/faults").json() == []
    mistakes: list[object] = [{"route": "submit", "kind": "nonsense"}, {"faults": "x"}, [], {"route": "submit"}]
    for bad in mistakes:
        assert api.post("/_emulator/faults", bad).status_code == 400


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("status:status:502@0.3", Fault("status", "status", "502", probability=0.3)),
        ("submit:drop_after#2", Fault("submit", "drop_after", times=2)),
        ("submit:502", Fault("submit", "status", "502")),
        ("submit:429;Retry-After=2;X-A=b=c#1", Fault("submit", "status", "429", times=1,
                                                     headers={"Retry-After": "2", "X-A": "b=c"})),
        ("submit:stuck@0.5#3%nomos-upscaler", Fault("submit", "stuck", probability=0.5, times=3,
                                                    model="nomos-upscaler")),
        ("submit:fail:no, really: not now", Fault("submit", "fail", "no, really: not now")),
        ("any:redirect:http://127.0.0.1:80/x", Fault("any", "redirect", "http://127.0.0.1:80/x")),
    ],
)  # fmt: skip
def test_grammar(text, fault):
    assert parse_faults(text) == [fault]
    assert parse_faults(f"{text}, credits:html") == [fault, Fault("credits", "html")]


@pytest.mark.parametrize(
    "text",
    ["x", "nowhere:stuck", "submit:nonsense", "submit:status:abc", "submit:status", "submit:redirect",
     "submit:delay:soon", "output:success", "output:success:204", "submit:stuck@2", "submit:429;oops"],
)  # fmt: skip
def test_invalid_faults_are_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - the reasons differ
        parse_faults(text)


def test_no_faults():
    assert parse_faults("") == parse_faults(" , ") == []
