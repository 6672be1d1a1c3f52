"""The output is the input image, enlarged, in the requested format."""

from __future__ import annotations

import base64
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image, ImageChops, ImageStat


def opened(api, body) -> Image.Image:
    response = api.get(body["output"], headers={"x-api-key": ""})
    assert response.status_code == 200
    (listed,) = body["images"]
    assert listed["file_size"] == len(response.content)
    assert listed["content_type"] == response.headers["content-type"]
    assert body["output"] == listed["url"]
    assert listed["url"].endswith(listed["file_name"])
    return Image.open(io.BytesIO(response.content))


def difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference per channel, from 0 to 255."""
    stat = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")))
    return sum(stat.mean) / len(stat.mean)


@pytest.mark.parametrize("scale", [2, "2", 4, 8])
@pytest.mark.parametrize("name", ["cat.jpg", "astronaut.png", "galaxies.webp", "portrait-alpha.png"])
def test_esrgan_scales(api, emulator, photos, name, scale):
    source = Image.open(photos / name)
    photo = opened(api, api.run("esrgan", image=emulator.add_image(photos / name), scale=scale))
    assert photo.format == "JPEG"
    assert photo.size == (source.width * int(scale), source.height * int(scale))
    if source.mode == "RGB":
        assert difference(photo.resize(source.size, Image.Resampling.LANCZOS), source) < 4


@pytest.mark.parametrize(
    ("model", "parameters", "kind", "mode"),
    [
        ("esrgan", {"output_format": "png"}, "PNG", "RGBA"),
        ("esrgan", {"output_format": "webp"}, "WEBP", "RGBA"),
        ("esrgan", {"output_format": "jpeg"}, "JPEG", "RGB"),
        ("nomos-upscaler", {}, "PNG", "RGBA"),
        ("nomos-upscaler", {"image_format": "jpg"}, "JPEG", "RGB"),
        ("nomos-upscaler", {"image_format": "jpeg"}, "JPEG", "RGB"),
        ("nomos-upscaler", {"image_format": "webp"}, "WEBP", "RGBA"),
        ("bria-increase-resolution", {}, "PNG", "RGBA"),
        ("bria-increase-resolution", {"preserve_alpha": False}, "PNG", "RGB"),
    ],
)
def test_formats_and_alpha(api, emulator, photos, model, parameters, kind, mode):
    image = emulator.add_image(photos / "portrait-alpha.png")
    photo = opened(api, api.run(model, image=image, **parameters))
    assert (photo.format, photo.mode) == (kind, mode)
    factor = 2 if model == "esrgan" else 4
    assert photo.size == (256 * factor, 256 * factor)
    corner = photo.getpixel((0, 0))
    assert isinstance(corner, tuple)
    assert corner[3] == 0 if mode == "RGBA" else min(corner) > 240


@pytest.mark.parametrize(
    ("name", "size"),
    [("cat.jpg", (600, 400)), ("galaxies.webp", (800, 696)), ("portrait-alpha.png", (256, 256))],
)
def test_sample_images(api, emulator, name, size):
    url = emulator.sample_url(name)
    assert url == f"{emulator.url}/samples/{name}"
    assert opened(api, api.run("esrgan", image=url, scale=2, output_format="png")).size == size


def test_the_samples_are_few_small_and_named(api, emulator):
    sizes = [len(api.get(url).content) for url in emulator.sample_urls]
    assert len(sizes) == 3
    assert sum(sizes) < 300_000
    assert emulator.sample_url() == emulator.sample_urls[0]
    assert api.get("/samples/dog.jpg").status_code == 404
    assert api.get("/samples/README.md").status_code == 404
    with pytest.raises(ValueError, match=r"cat\.jpg"):
        emulator.sample_url("dog.jpg")


@pytest.mark.parametrize("increase", [2, 4])
def test_bria_increase(api, emulator, photos, increase):
    image = emulator.add_image(photos / "cat.jpg")
    photo = opened(api, api.run("bria-increase-resolution", image=image, desired_increase=increase))
    assert photo.size == (300 * increase, 200 * increase)


def test_quality_changes_the_size(api, emulator, photos):
    image = emulator.add_image(photos / "cat.jpg")
    sizes = [api.run("esrgan", image=image, quality=q)["images"][0]["file_size"] for q in (10, 95)]
    assert sizes[0] < sizes[1] / 3


def test_nomos_base64_in_and_out(api, photos):
    raw = base64.b64encode((photos / "cat.jpg").read_bytes()).decode()
    for image in (raw, f"data:image/jpeg;base64,{raw}"):
        body = api.run("nomos-upscaler", image=image, base64=True)
        assert "images" not in body
        assert Image.open(io.BytesIO(base64.b64decode(body["output"]))).size == (1200, 800)


@pytest.mark.parametrize(
    ("image", "error"),
    [
        ("file:///etc/hostname", "only http(s) URLs and data URIs"),
        ("ftp://127.0.0.1/x.png", "only http(s) URLs and data URIs"),
        ("/etc/hostname", "bad base64"),
        ("http://127.0.0.1:9/x.png", "Could not fetch the input image"),
        ("http://", "Could not fetch the input image"),
        ("data:image/png;base64,aGVsbG8=", "Could not decode the input image"),
        ("data:image/png;base64,***", "bad base64"),
        ("data:text/plain,hello", "not base64"),
    ],
)
def test_bad_inputs_fail_the_job(api, emulator, image, error):
    body = api.run("nomos-upscaler", image=image)
    assert body["status"] == "FAILED"
    assert error in body["error"]
    assert emulator.stats.billed == 0


def test_truncated_image_fails_the_job(api, emulator, photos):
    image = emulator.add_image((photos / "astronaut.png").read_bytes()[:20000], "half.png")
    assert "Could not decode" in api.run("esrgan", image=image)["error"]


def test_too_large_an_output_fails_the_job(api, emulator):
    buffer = io.BytesIO()
    Image.new("L", (3000, 3000)).save(buffer, "PNG")
    body = api.run("esrgan", image=emulator.add_image(buffer.getvalue(), "big.png"), scale=8)
    assert body["error"] == "The output image would be too large"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16", "RGBA"])
def test_every_mode_of_input(api, emulator, mode):
    buffer = io.BytesIO()
    Image.new(mode, (8, 6)).save(buffer, "TIFF")
    image = emulator.add_image(buffer.getvalue(), "odd.tiff")
    assert opened(api, api.run("nomos-upscaler", image=image)).size == (32, 24)


def test_moderation(api, emulator, photos):
    blocked = emulator.add_image(photos / "cat.jpg", "blocked-cat.jpg")
    plain = emulator.add_image(photos / "cat.jpg")
    model = "bria-increase-resolution"
    for side in ("input", "output"):
        switch = {f"visual_{side}_content_moderation": True}
        body = api.run(model, image=blocked, **switch)
        assert body["status"] == "FAILED"
        assert body["error"] == f"Content moderation failed for the {side} image"
        assert api.run(model, image=plain, **switch)["status"] == "COMPLETED"
    assert api.run(model, image=blocked)["status"] == "COMPLETED"


def test_input_from_another_server(api, photos):
    """The emulator fetches the input over HTTP and does not follow a redirect to a file."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/to-file":
                self.send_response(302)
                self.send_header("Location", "file:///etc/hostname")
                self.end_headers()
                return
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/cat.jpg")
                self.end_headers()
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write((photos / "cat.jpg").read_bytes())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        assert opened(api, api.run("esrgan", image=f"{base}/cat.jpg")).size == (600, 400)
        assert opened(api, api.run("esrgan", image=f"{base}/moved")).size == (600, 400)
        assert "Could not fetch" in api.run("esrgan", image=f"{base}/to-file")["error"]
    finally:
        server.shutdown()
        server.server_close()
