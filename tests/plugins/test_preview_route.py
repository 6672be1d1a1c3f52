"""Who sees a preview, and what is no preview: asked of a real API server, with real users and a real bucket."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from PIL import Image

from airflow_provider_segmind.airflow_version import HAS_TABS
from airflow_provider_segmind.plugins.preview_route import Budget
from airflow_provider_segmind.protocol.previews import MAX_BYTES, Reference, is_genuine, marker
from airflow_provider_segmind.storage.previews import small
from demo.api import Api
from tests.buckets import BUCKET, Bucket

pytest.importorskip("airflow.api_fastapi", reason="an API server that serves pages: Airflow 3.0 and later")
from tests.plugins.site import Site  # imports it
from tests.shared_airflow import SharedAirflow

RUN = "manual__2026-11-21T10:00:00+00:00"  # as Airflow makes them, with signs that have to be quoted
MODEL = "https://www.segmind.com/models/esrgan"


@pytest.fixture(scope="module")
def store(_s3_process: str) -> Bucket:
    """A bucket that stays for the tests of this file."""
    httpx.post(f"{_s3_process}/moto-api/reset", trust_env=False).raise_for_status()
    bucket = Bucket(_s3_process)
    bucket.client.create_bucket(Bucket=BUCKET)
    return bucket


@pytest.fixture(scope="module")
def site(shared_airflow: SharedAirflow, store: Bucket) -> Iterator[Site]:
    connection = {  # in the database: so the API server has to look there, too
        "conn_type": "aws",
        "login": "testing",
        "password": "testing",
        "extra": json.dumps({"endpoint_url": store.client.meta.endpoint_url, "region_name": "us-east-1"}),
    }
    with closing(Site(shared_airflow, shared_airflow.with_users())) as site:
        site.api.create_connection("images_s3", connection)
        yield site


@pytest.fixture(scope="module")
def run(site: Site) -> None:
    """All runs have ended, but for the one that waits for long."""
    ended = {"shown": "success", "previews_private": "success", "previews_fail": "failed"}
    site.airflow.api.trigger_dag("previews_wait", RUN)
    states = site.airflow.run_all(*((dag_id, RUN) for dag_id in ended))
    assert states == {(dag_id, RUN): state for dag_id, state in ended.items()}
    site.airflow.wait_until_deferred("previews_wait", RUN, seconds=240)


def path_of(dag_id: str, task_id: str) -> str:
    return f"dags/{dag_id}/dagRuns/{quote(RUN, safe='')}/taskInstances/{task_id}"


def ask(site: Site, user: str | None, headers: dict[str, str] | None = None, **query: Any) -> httpx.Response:
    """Ask for a preview: unless told, that of the first mapped task."""
    wanted: dict[str, Any] = {"dag_id": "shown", "run_id": RUN, "task_id": "mapped", "map_index": 0, "which": "after"}
    return site.preview(user, headers, wanted | query)


def returned(site: Site, task_id: str, map_index: int = -1, dag_id: str = "shown") -> Any:
    return site.api.returned(dag_id, RUN, task_id, map_index)


def is_none(response: httpx.Response) -> None:
    assert (response.status_code, response.json()) == (404, {"detail": "No preview"}), response.text


# --- what is served -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "which", "size"),
    [(0, "after", (512, 341)), (0, "before", (300, 200)), (1, "after", (512, 512)), (1, "before", (256, 256))],
)
@pytest.mark.e2e
def test_a_mapped_task(site: Site, run: Any, index: int, which: str, size: tuple[int, int]) -> None:
    response = ask(site, "viewer", map_index=index, which=which)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/webp"
    assert response.headers["cache-control"] == "private, no-cache"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'; sandbox" in response.headers["content-security-policy"]
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    with Image.open(io.BytesIO(response.content)) as image:
        image.load()
        assert (image.format, image.size) == ("WEBP", size)
    reference = returned(site, "mapped", index)["stored"][0]["preview"][which]
    assert is_genuine(response.content, Reference.model_validate(reference), "shown")

    again = ask(site, "viewer", {"If-None-Match": response.headers["etag"]}, map_index=index, which=which)
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.e2e
def test_from_a_bucket_with_its_connection(site: Site, run: Any) -> None:
    response = ask(site, "viewer", task_id="to_bucket", map_index=-1)
    assert response.status_code == 200, response.text
    assert returned(site, "to_bucket")["stored"][0]["uri"] == "s3://images_s3@images/out/to_bucket.jpg"
    is_none(ask(site, "viewer", task_id="to_bucket", map_index=-1, which="before"))


@pytest.mark.e2e
def test_a_token_does_as_well(site: Site, run: Any) -> None:
    headers = {"Authorization": f"Bearer {site.user('viewer').token}"}
    assert ask(site, None, headers).status_code == 200


# --- who may not ----------------------------------------------------------------------------------------------------


@pytest.mark.e2e
def test_who_may_not_read_the_dag_sees_nothing(site: Site, run: Any) -> None:
    private: dict[str, Any] = {"dag_id": "previews_private", "task_id": "one", "map_index": -1}
    assert ask(site, "admin", **private).status_code == 200
    assert ask(site, "viewer", **private).status_code == 403
    assert ask(site, "nobody", **private).status_code == 403
    assert ask(site, "nobody").status_code == 403  # signed in, without any right
    assert ask(site, None).status_code == 401
    assert ask(site, None, {"Authorization": "Bearer nonsense"}).status_code in (401, 403)
    for odd in (["shown", "previews_private"], ["previews_private", "shown"]):
        response = ask(site, "viewer", **{**private, "dag_id": odd})
        assert response.status_code == (403 if odd[-1] == "previews_private" else 404)


@pytest.mark.e2e
def test_another_dags_preview_is_not_to_be_had_by_its_address(site: Site, run: Any) -> None:
    """Whoever may write XComs of their own DAG, and knows everything about the other one."""
    stolen = returned(site, "one", dag_id="previews_private")
    site.user("admin").change_result(path_of("shown", "says"), stolen)
    is_none(ask(site, "viewer", task_id="says", map_index=-1))
    is_none(ask(site, "admin", task_id="says", map_index=-1))


@pytest.mark.parametrize(
    "query",
    [
        {"task_id": "not_there"},
        {"map_index": 7},
        {"map_index": -1},
        {"run_id": "other"},
        {"n": 1},
        {"n": -1},
        {"n": "x"},
        {"which": "both"},
        {"which": ""},
        {"dag_id": "~"},
        {"run_id": "~"},
        {"task_id": "says", "map_index": -1},
        {"task_id": "../mapped"},
        {"task_id": "x" * 300},
        {"uri": "file:///etc/passwd", "n": 3},
        {"key": "request_id", "task_id": "by_url", "map_index": -1},
    ],
    ids=str,
)
@pytest.mark.e2e
def test_what_is_not_there(site: Site, run: Any, query: dict[str, Any]) -> None:
    is_none(ask(site, "admin", **query))


# --- what is no preview ---------------------------------------------------------------------------------------------


def reference_to(content: bytes, size: tuple[int, int] = (300, 200), **change: Any) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"width": size[0], "height": size[1], "bytes": len(content), "sha256": digest} | change


@pytest.mark.e2e
def test_forged(site: Site, run: Any, store: Bucket, tmp_path: Path) -> None:
    """Every XCom that a task could push to have the API server read something else for it."""
    admin = site.user("admin")

    def response_to(uri: str, content: bytes, **change: Any) -> httpx.Response:
        preview = {"uri": f"{uri}.preview.webp", **reference_to(content, **change)}
        value = {"stored": [{"uri": uri, "preview": {"before": None, "after": preview}}]}
        admin.change_result(path_of("shown", "says"), value)
        return ask(site, "admin", task_id="says", map_index=-1)

    def refused(uri: str, content: bytes, **change: Any) -> None:
        is_none(response_to(uri, content, **change))

    good = Path(str(site.out / "cat.jpg.preview.webp")).read_bytes()
    with Image.open(io.BytesIO(good)) as image:
        size = image.size
    # It is a fair trial: the very same reference to the genuine one is served.
    assert response_to(f"file://{site.out}/cat.jpg", good, size=size).content == good

    secret = b"root:x:0:0:root:/:/bin/sh\n"
    (tmp_path / "secret").write_bytes(secret)
    for uri in ("file:///etc/passwd", f"file://{tmp_path}/secret", f"{site.out}/cat.jpg", "/etc/passwd"):
        refused(uri, secret)
        value = {"stored": [{"uri": uri, "preview": {"after": {"uri": uri, **reference_to(secret)}}}]}
        admin.change_result(path_of("shown", "says"), value)  # without the ending
        is_none(ask(site, "admin", task_id="says", map_index=-1))

    (tmp_path / "a.preview.webp").write_bytes(secret)  # the right name, the right hash, no picture
    refused(f"file://{tmp_path}/a", secret)
    (tmp_path / "link.preview.webp").symlink_to("/etc/passwd")
    refused(f"file://{tmp_path}/link", Path("/etc/passwd").read_bytes())
    refused(f"file://{site.out}/../out/cat.jpg", good, size=size)  # a way around
    refused(f"file://{tmp_path}/cat.jpg", good, size=size)  # the genuine one, elsewhere
    (tmp_path / "b.preview.webp").write_bytes(good[:-1] + b"x")  # replaced since
    refused(f"file://{tmp_path}/b", good, size=size)
    (tmp_path / "c.preview.webp").write_bytes(good + secret)  # something behind it
    refused(f"file://{tmp_path}/c", good + secret, size=size)

    photo = io.BytesIO()
    Image.new("RGB", (300, 200)).save(photo, "WEBP")
    (tmp_path / "d.preview.webp").write_bytes(photo.getvalue())  # a picture, but none of ours
    refused(f"file://{tmp_path}/d", photo.getvalue())
    foreign, of = small(photo, marker("previews_private"))
    (tmp_path / "e.preview.webp").write_bytes(foreign)  # ours, of another DAG
    refused(f"file://{tmp_path}/e", foreign, size=of)

    with (tmp_path / "f.preview.webp").open("wb") as huge:
        huge.truncate(4 * 1024**3)
    refused(f"file://{tmp_path}/f", b"x", bytes=4 * 1024**3)
    refused(f"file://{tmp_path}/f", b"x", bytes=MAX_BYTES)
    os.mkfifo(tmp_path / "g.preview.webp")  # whoever opens it waits for ever
    refused(f"file://{tmp_path}/g", b"", bytes=1)
    refused("file:///dev/zero", b"\0")
    (tmp_path / "h.preview.webp").mkdir()
    refused(f"file://{tmp_path}/h", b"", bytes=1)

    store.client.create_bucket(Bucket="other")
    store.client.put_object(Bucket="other", Key="x.preview.webp", Body=secret)
    refused("s3://images_s3@other/x", secret)
    refused("s3://images_s3@not-there/x", secret)
    refused("s3://no_such_connection@images/x", secret)
    for uri in ("http://127.0.0.1:9/x", "https://example.invalid/x", "memory://x/y", "nowhere://x/y", "s3://"):
        refused(uri, secret)
    reported = site.log()
    assert "is not the one that DAG shown has stored" in reported
    assert "root:x" not in reported


@pytest.mark.parametrize(
    "value",
    [None, 7, "x", [], {"stored": None}, {"stored": [{"preview": {"after": "file:///etc/passwd"}}]}, [[[]]]],
    ids=str,
)
@pytest.mark.e2e
def test_results_of_any_shape(site: Site, run: Any, value: Any) -> None:
    site.user("admin").change_result(path_of("shown", "says"), copy.deepcopy(value))
    is_none(ask(site, "admin", task_id="says", map_index=-1))


# --- how much -------------------------------------------------------------------------------------------------------


def test_the_budget_of_a_user() -> None:
    budget = Budget(burst=3, per_second=2.0)
    assert [budget.take("a", 100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert budget.take("b", 100.0) == 0.0  # another's is another's
    assert budget.take("a", 100.5) == 0.0
    assert budget.take("a", 100.5) == 0.5
    assert [budget.take("a", 900.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]  # never more than a full one
    for number in range(10_001):
        budget.take(f"u{number}", 900.0)
    assert len(budget._left) == 10_000


@pytest.mark.e2e
def test_too_many_at_once(site: Site, run: Any) -> None:
    """By a user of its own: the others' previews are served at any time."""
    query = {"dag_id": "shown", "run_id": RUN, "task_id": "not_there", "which": "after"}
    statuses: list[int] = []
    with closing(Api(site.url, {"_token": site.user("hasty").token})) as client:
        for _ in range(900):
            response = client.request("GET", "/segmind/preview", params=query)
            statuses.append(response.status_code)
            if response.status_code == 429:
                break
    assert statuses[-1] == 429
    assert set(statuses[:-1]) == {404}
    assert int(response.headers["retry-after"]) >= 1
    assert ask(site, "admin").status_code == 200  # of one user, not of all


# --- links ----------------------------------------------------------------------------------------------------------


def links(site: Site, dag_id: str, task_id: str, map_index: int) -> dict[str, str | None]:
    path = f"/api/v2/{path_of(dag_id, task_id)}/links"
    found: dict[str, str | None] = site.api.get(path, map_index=map_index)["extra_links"]
    return found


def into_airflow(dag_id: str, task_id: str, map_index: int) -> dict[str, str | None]:
    run_id = "manual__2026-11-21T10%3A00%3A00%2B00%3A00"
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    ids = f"dag_id={dag_id}&run_id={run_id}&task_id={task_id}&map_index={map_index}"
    tab = f"dags/{dag_id}/runs/{run_id}/tasks/{task_id}{mapped}/plugin/segmind-upscaled"
    return {
        "Before and after": tab if HAS_TABS else None,
        "Before and after, as a page": f"segmind/view.html?{ids}",
    }


@pytest.mark.e2e
def test_links_while_deferred(site: Site, run: Any) -> None:
    dag = "previews_wait"
    model = {"Segmind model": "https://www.segmind.com/models/bria-increase-resolution"}
    nothing_yet = {"Upscaled picture": None, "Stored object": None}
    for task, index in (("mapped", 0), ("mapped", 1), ("single", -1)):
        # Written one by one, a moment after the state.
        site.airflow.wait("the last link", lambda at=(task, index): links(site, dag, *at)["Segmind model"], seconds=60)
        assert links(site, dag, task, index) == {**into_airflow(dag, task, index), **model, **nothing_yet}


@pytest.mark.e2e
def test_links_after_success(site: Site, run: Any) -> None:
    for index in (0, 1):
        found = links(site, "shown", "mapped", index)
        output = returned(site, "mapped", index)["output"]
        assert found == {
            **into_airflow("shown", "mapped", index),
            "Segmind model": MODEL,
            "Upscaled picture": output,
            "Stored object": None,  # a file has no console
        }
    mine = links(site, "shown", "by_mine", -1)
    assert {name: mine[name] for name in into_airflow("shown", "x", -1)} == into_airflow("shown", "by_mine", -1)
    stored = links(site, "shown", "to_bucket", -1)
    assert {name: stored[name] for name in into_airflow("shown", "x", -1)} == into_airflow("shown", "to_bucket", -1)
    assert stored["Stored object"] is None  # another store than AWS, by its endpoint
    assert (stored["Upscaled picture"] or "").startswith(site.airflow.emulator_url)


@pytest.mark.e2e
def test_links_after_failure(site: Site, run: Any) -> None:
    dag = "previews_fail"
    model = {"Segmind model": "https://www.segmind.com/models/nomos-upscaler"}
    nothing = {"Upscaled picture": None, "Stored object": None}
    for task, index in (("deferred", -1), ("here", 0)):
        assert links(site, dag, task, index) == {**into_airflow(dag, task, index), **model, **nothing}


@pytest.mark.e2e
def test_off_unless_it_is_switched_on(site: Site, run: Any) -> None:
    """Asked of a server without the setting."""
    assert ask(site, "admin").status_code == 200
    off = site.airflow.serve(**site.airflow.user_settings(), AIRFLOW__SEGMIND__SERVE_PREVIEWS="False")
    try:
        with closing(Site(site.airflow, off)) as without:
            is_none(ask(without, "admin"))
            is_none(ask(without, None))
    finally:
        site.airflow.kill_component(off.name)
