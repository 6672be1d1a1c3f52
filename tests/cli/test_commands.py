"""Each command, called in this process, against the emulator over real sockets; test_processes.py has the rest."""

from __future__ import annotations

import argparse
import json
import re
import sys

import pytest
from PIL import Image

from airflow_provider_segmind import __version__
from airflow_provider_segmind.cli.arguments import commands
from airflow_provider_segmind.cli.parameters import parameters_of
from airflow_provider_segmind.polling import loop
from airflow_provider_segmind.protocol.models import MODELS
from tests.airflow_versions import needs_provider_commands
from tests.cli.terminal import ROOT, airflow, call, environment


def sent(emulator):
    return emulator.stats.submits_attempted


# --- commands without a request --------------------------------------------------------------------------------------


def test_credits(run, segmind_emulator):
    done = run("credits")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"100 credits at {segmind_emulator.url} (key: SEGMIND_API_KEY)\n"


def test_models_shows_every_parameter(run, here):
    done = run("models", env=environment(here))  # no key, no gateway
    assert (done.code, done.err) == (0, "")
    table = done.out.partition("\n\n\n")[0]
    for slug, model in MODELS.items():
        assert f"https://www.segmind.com/models/{slug}" in done.out
        rows = re.split(r"\n\s*\n", table.partition(slug)[2])[0]
        for parameter in parameters_of(model):
            default = "required" if parameter.default is None else str(parameter.default).lower()
            assert re.search(rf"{parameter.name} +{parameter.kind} +{default}\b", rows), (slug, parameter)
    assert "10 to 100" in done.out
    assert "2, 4, 8" in done.out


def test_the_options_are_the_models_parameters(run):
    shown = run("run", "--help").out
    for model in MODELS.values():
        for name in set(model.model_fields) - {"image"}:
            assert f"--{name.replace('_', '-')}" in shown


@pytest.mark.parametrize("slug", MODELS)
def test_the_help_for_a_model_has_the_options_of_this_model_only(run, slug):
    shown = run("run", slug, "--help").out
    for model in MODELS.values():
        for name in set(model.model_fields) - {"image"}:
            assert (f"--{name.replace('_', '-')} " in shown.replace(",", " ")) == (model is MODELS[slug])
    assert slug in shown
    assert f"{slug}:" not in shown  # the options need no model's name


def test_version(run):
    assert run("--version").out == f"airflow-provider-segmind {__version__}\n"


def test_models_and_credits_as_json(run, here, segmind_emulator):
    listed = json.loads(run("models", "--json", env=environment(here)).out)
    assert [one["model"] for one in listed] == list(MODELS)
    for one in listed:
        assert [parameter["name"] for parameter in one["parameters"]] == list(MODELS[one["model"]].model_fields)
    assert {"name": "scale", "type": "integer", "required": False, "default": 2, "choices": [2, 4, 8]} in listed[0][
        "parameters"
    ]
    assert json.loads(run("credits", "--json").out) == {
        "total": 100,
        "credits": 100,
        "free_credits": 0,
        "gateway": segmind_emulator.url,
        "conn_id": None,
    }


def test_emulator_with_a_mistake(run):
    done = run("emulator", "--queue-share", "3")
    assert done.code == 2
    assert "queue_share" in done.err


# --- run --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["drop_after", "status_after:504"])
def test_a_submit_whose_response_is_lost_is_found_in_the_history(run, here, segmind_emulator, fault):
    """The command submits as the operators do: the request is accepted, and billed, once."""
    segmind_emulator.faults.add("submit", fault, times=1)
    done = run("run", "esrgan", "cat.jpg", "-o", "out.png")
    assert done.code == 0, done.err
    assert segmind_emulator.stats.submits_accepted == 1
    assert (here / "out.png").exists()


def test_run(run, here, segmind_emulator):
    done = run("run", "esrgan", "cat.jpg", "--scale", "4", "-o", "out.png")
    assert done.code == 0, done.err
    with Image.open(here / "out.png") as image:
        assert (image.size, image.format) == ((1200, 800), "PNG")
    [request] = segmind_emulator.requests
    assert request.parameters | {"image": ""} == {"image": "", "scale": 4, "output_format": "png", "quality": 95}
    assert f"{here / 'out.png'}: 1200 x 800 pixels, image/png" in done.out
    assert "cost 0.005 USD, balance 99.995 credits" in done.out
    before, after = done.err.split("\nrequest ")  # what it will do is reported before it is done
    assert re.search(r"cat\.jpg \(300 x 200 pixels, \d+ bytes\), by upload", before)
    assert "esrgan with scale=4, output_format=png, quality=95" in before
    assert str(here / "out.png") in before
    assert segmind_emulator.url in before
    assert request.request_id in after
    assert (segmind_emulator.stats.uploads, segmind_emulator.stats.billed) == (1, 1)


def test_run_names_the_output_itself_and_decodes_an_inline_output(run, here, segmind_emulator):
    done = run("run", "nomos-upscaler", "cat.jpg", "--base64", "--image-format", "webp")
    assert done.code == 0, done.err
    with Image.open(here / "cat-nomos-upscaler.webp") as image:
        assert image.size == (1200, 800)
    assert "by data" in done.err
    assert segmind_emulator.stats.uploads == 0


def test_run_as_json(run, here, segmind_emulator):
    done = run("run", "esrgan", "cat.jpg", "-o", "out.png", "--json")
    assert done.code == 0, done.err
    result = json.loads(done.out)
    [request] = segmind_emulator.requests
    assert (result["request_id"], result["model"], result["status"]) == (request.request_id, "esrgan", "COMPLETED")
    assert result["metrics"]["cost"] == 0.005
    [stored] = result["stored"]
    assert (stored["uri"], stored["width"]) == (f"file://{here / 'out.png'}", 600)


@pytest.mark.parametrize(
    ("typed", "output"),
    [
        (["esrgan", "cat.jpg"], "cat-esrgan.jpg"),
        (["esrgan", "cat.jpg", "-o", "up/"], "up/cat.jpg"),
        (["esrgan", "cat.jpg", "-o", "{stem}-{request_id}.{ext}"], "cat-REQUEST-ID.jpg"),
        (["nomos-upscaler", "cat.jpg"], "cat-nomos-upscaler.png"),
        (["bria-increase-resolution", "cat.jpg"], "cat-bria-increase-resolution.EXTENSION (EXTENSION: the format of"),
    ],
)
def test_the_announced_path_has_no_placeholder(run, here, typed, output):
    done = run("run", *typed)
    assert done.code == 0, done.err
    [announced] = re.findall("^output +(.*)$", done.err, re.M)
    assert announced.startswith(str(here / output))
    assert "{" not in announced


@pytest.mark.segmind_emulator(latency=1.5)
def test_a_long_wait_is_reported(run, monkeypatch):
    monkeypatch.setattr(loop, "PROGRESS_INTERVAL", 0.4)  # seconds, not a minute
    done = run("run", "esrgan", "cat.jpg", "--timeout", "60")
    assert done.code == 0, done.err
    assert re.search(r"^(queued|processing), \d s of 60 s$", done.err, re.M)


@pytest.mark.segmind_emulator(extra_models=("mine",))
def test_run_any_other_model(run, here, segmind_emulator):
    url = segmind_emulator.add_image(here / "cat.jpg")
    done = run("run", "mine", "-p", f"image={url}", "-p", "n=2", "-p", "word=[red]two words", "-o", "x.png")
    assert done.code == 0, done.err
    [request] = segmind_emulator.requests
    assert request.parameters == {"image": url, "n": 2, "word": "[red]two words"}
    assert "word=[red]two words" in done.err
    with Image.open(here / "x.png") as image:
        assert image.format


@pytest.mark.parametrize(
    ("typed", "code", "reported"),
    [
        (["run", "esrgan", "dog.jpg"], 1, r"dog\.jpg on host .*: it does not exist\. Nothing was submitted"),
        (["run", "esrgan", "notes.txt"], 1, "notes.txt: its format is unknown .*JPEG, PNG and WebP are accepted"),
        (["run", "esrgan", "cat.jpg", "-p", "scale=3"], 1, "scale: Input should be 2, 4 or 8"),
        (["run", "esrgan", "cat.jpg", "-o", "notes.txt/out.png"], 1, "destination .*Not a directory"),
        (["run", "es/rgan", "cat.jpg"], 1, "is not a model slug"),
        (["run", "esrgan", "cat.jpg", "--scale", "3"], 2, "invalid choice: 3"),
        (["run", "esrgan", "cat.jpg", "--quality", "9"], 2, "9 is not within 10 to 100"),
        (["run", "esrgan", "cat.jpg", "--image-quality", "9"], 2, "is a parameter of nomos-upscaler, not of esrgan"),
        (["run", "esrgen", "cat.jpg", "--scale", "4"], 2, r"did you mean esrgan\?"),
        (["run", "esrgan"], 2, "needs an image: a file, "),
        (["run", "esrgan", "cat.jpg", "-p", "scale"], 2, "'scale' is not name=value"),
        (["request", "../../v1/get-user-credits"], 1, "request id"),
        (["run", "esrgan", "."], 2, r"\. is a folder.*run the command once for each file"),
        (["run", "esrgan", "file://cat.jpg"], 2, r"file://cat\.jpg is not an absolute URI.* write file:///.*/cat\.jpg"),
        (["run", "esrgan", "cat.jpg", "-o", "file://out/"], 2, r"-o: .* write file:///.*/out"),
        (["run", "esrgan", "-p", "image=cat.jpg"], 2, "give cat.jpg as IMAGE"),
        (["run", "esrgan", "cat.jpg", "-p", "image=cat.jpg"], 2, "the image is given twice"),
        (["request", "1234", "--timeout", "x"], 2, "'x' is not a number of seconds between 0 and 1000000"),
        (["upscale"], 2, "invalid choice: 'upscale'"),
        ([], 2, "COMMAND"),
    ],
)
def test_mistakes_cost_nothing(run, here, segmind_emulator, typed, code, reported):
    (here / "notes.txt").write_text("not an image")
    done = run(*typed)
    assert (done.code, done.out) == (code, "")
    assert re.search(reported, done.err)
    assert sent(segmind_emulator) == segmind_emulator.stats.uploads == 0


def test_a_wrong_key(run, env):
    done = run("run", "esrgan", "cat.jpg", env=env | {"SEGMIND_API_KEY": "wrong-key-of-mine"})
    assert (done.code, done.out) == (1, "")
    assert "SegmindAuthError" in done.err
    assert "wrong-key-of-mine" not in done.err
    assert "Put a valid key into the environment variable SEGMIND_API_KEY" in done.err
    assert "connection" not in done.err


def test_an_unknown_model(run):
    done = run("run", "esrgan-9", "cat.jpg")
    assert (done.code, done.out) == (1, "")
    assert "SegmindUnknownModelError" in done.err


def test_a_misspelled_model(run):
    done = run("run", "esrgn", "cat.jpg")
    assert (done.code, done.out) == (1, "")
    assert re.search("SegmindUnknownModelError: .* Did you mean esrgan\\?", done.err)


def test_it_failed(run, segmind_emulator):
    segmind_emulator.faults.add("submit", "fail")
    done = run("run", "esrgan", "cat.jpg")
    assert (done.code, done.out) == (1, "")
    assert "SegmindRequestFailedError" in done.err
    assert " -o " not in done.err  # there is nothing to fetch


def test_an_unknown_request(run):
    done = run("request", "7c9e6679-7425-40de-944b-e07fc1f90ae7")
    assert (done.code, done.out) == (1, "")
    assert "SegmindRequestExpiredError" in done.err
    assert "neither its record, which is kept for one hour, nor the request history" in done.err
    assert "Check the request id" in done.err


def test_a_request_that_is_finished(run, segmind_emulator):
    from airflow_provider_segmind.hooks.segmind import SegmindHook

    with SegmindHook() as hook:
        accepted = hook.submit("esrgan", {"image": segmind_emulator.add_image(ROOT / "tests/photos/cat.jpg")})
    segmind_emulator.advance(1)
    assert segmind_emulator.stats.billed == 1  # this waits until the image is made
    done = run("request", accepted.request_id)
    assert (done.code, done.err) == (0, "")
    state, url, bill = done.out.splitlines()
    assert state == f"{accepted.request_id}: COMPLETED"
    assert url.startswith(segmind_emulator.url)
    assert bill.startswith("cost 0.005 USD")


@pytest.mark.segmind_emulator(latency=900.0)
def test_a_request_as_json(run, here, segmind_emulator):
    from airflow_provider_segmind.hooks.segmind import SegmindHook

    with SegmindHook() as hook:
        request_id = hook.submit("esrgan", {"image": segmind_emulator.add_image(here / "cat.jpg")}).request_id
    shown = json.loads(run("request", request_id, "--json").out)
    assert shown == {"request_id": request_id, "status": "QUEUED"}
    segmind_emulator.advance(900)
    assert segmind_emulator.stats.billed == 1  # this waits until the image is made
    assert json.loads(run("request", request_id, "--json").out)["status"] == "COMPLETED"
    segmind_emulator.advance(3600)
    shown = json.loads(run("request", request_id, "--json", "-o", "later.png").out)  # from the request history
    assert shown["stored"][0]["uri"] == f"file://{here / 'later.png'}"


@pytest.mark.segmind_emulator(latency=1.5)
def test_the_bar_fills_with_the_models_usual_time(here, env, quick_polls, monkeypatch):
    monkeypatch.setattr(MODELS["bria-increase-resolution"], "expected_seconds", 2.0)
    terminal = env | {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}  # a terminal, for rich; without colours
    done = call("run", "bria-increase-resolution", "cat.jpg", "-o", "out.png", cwd=here, env=terminal)
    assert done.code == 0, done.err
    widths = [len(bar) for bar in re.findall("━+", done.err)]
    assert widths == sorted(widths)
    assert len(set(widths)) > 2
    assert widths[-1] < 40  # of 40: Segmind has not reported COMPLETED yet


# --- connections, and Airflow's own command ----------------------------------------------------------------------


def test_a_missing_connection_is_not_replaced_by_the_environments_key(run, airflow_db):
    done = run("credits", "--conn-id", "nowhere")
    assert (done.code, done.out) == (1, "")
    assert "the Airflow connection 'nowhere' does not exist" in done.err


@needs_provider_commands
def test_airflow_segmind(run, segmind_emulator):
    done = run("credits", program=airflow)
    assert done.code == 0, done.err
    assert done.out.startswith("100 credits at ")
    done = run("run", "esrgan", "dog.jpg", program=airflow)
    assert (done.code, done.out) == (1, "")
    assert "it does not exist" in done.err
    assert sent(segmind_emulator) == 0


@needs_provider_commands
def test_airflows_help_for_a_model_has_its_options_only(monkeypatch):
    from airflow_provider_segmind.cli.definition import get_segmind_cli_commands

    monkeypatch.setattr(sys, "argv", ["airflow", "segmind", "run", "esrgan", "--help"])
    [group] = get_segmind_cli_commands()
    [command] = [command for command in group.subcommands if command.name == "run"]
    shown = {flag for arg in command.args for flag in arg.flags if arg.kwargs.get("help") != argparse.SUPPRESS}
    assert {"--scale", "--output-format", "--quality", "--timeout"} <= shown
    assert not {"--image-quality", "--base64", "--preserve-alpha"} & shown


@needs_provider_commands
def test_airflow_has_every_command_and_option(capsys):
    from airflow.cli.cli_parser import get_parser

    for command in commands():
        with pytest.raises(SystemExit):
            get_parser().parse_args(["segmind", command.name, "--help"])
        shown = capsys.readouterr().out
        flags = []
        command.arguments(lambda *names, found=flags, **_: found.extend(names))
        assert [flag for flag in flags if flag.startswith("--") and flag not in shown] == []
    assert "[@PROBABILITY]" in shown  # the emulator's; it is not taken for markup
