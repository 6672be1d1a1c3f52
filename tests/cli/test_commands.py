"""Each command, called in this process, against the emulator over real sockets; test_processes.py has the rest."""

from __future__ import annotations

import re

import pytest
from PIL import Image

from airflow_provider_segmind.cli.arguments import COMMANDS
from airflow_provider_segmind.cli.parameters import parameters_of
from airflow_provider_segmind.protocol.models import MODELS
from tests.airflow_versions import needs_provider_commands
from tests.cli.terminal import ROOT, airflow, call, environment


def sent(emulator):
    return emulator.stats.submits_attempted


# --- what needs no request --------------------------------------------------------------------------------------


def test_credits(run):
    done = run("credits")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "100 credits"


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


def test_emulator_with_a_mistake(run):
    done = run("emulator", "--queue-share", "3")
    assert done.code == 2
    assert "queue_share" in done.err


# --- run --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["drop_after", "status_after:504"])
def test_a_submit_whose_response_is_lost_is_found_in_the_history(run, here, segmind_emulator, fault):
    """It is submitted as the operators submit: accepted, and paid for, once."""
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
    assert "cost 0.005 credits, left 99.995 credits" in done.out
    before, after = done.err.split("\nrequest ")  # what it will do is said before it is done
    assert re.search(r"cat\.jpg \(300 x 200 pixels, \d+ bytes\), by upload", before)
    assert "esrgan with scale=4, output_format=png, quality=95" in before
    assert str(here / "out.png") in before
    assert segmind_emulator.url in before
    assert request.request_id in after
    assert (segmind_emulator.stats.uploads, segmind_emulator.stats.billed) == (1, 1)


def test_run_names_the_result_itself_and_takes_what_is_inside_the_response(run, here, segmind_emulator):
    done = run("run", "nomos-upscaler", "cat.jpg", "--base64", "--image-format", "webp")
    assert done.code == 0, done.err
    with Image.open(here / "cat-nomos-upscaler.webp") as image:
        assert image.size == (1200, 800)
    assert "by data" in done.err
    assert segmind_emulator.stats.uploads == 0


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
    ("words", "code", "said"),
    [
        (["run", "esrgan", "dog.jpg"], 1, r"dog\.jpg on host .*: it does not exist\. Nothing was sent"),
        (["run", "esrgan", "notes.txt"], 1, "notes.txt: .*no whole picture"),
        (["run", "esrgan", "cat.jpg", "-p", "scale=3"], 1, "scale: Input should be 2, 4 or 8"),
        (["run", "esrgan", "cat.jpg", "-o", "notes.txt/out.png"], 1, "destination .*NotADirectoryError"),
        (["run", "es/rgan", "cat.jpg"], 1, "no model slug"),
        (["run", "esrgan", "cat.jpg", "--scale", "3"], 2, "invalid choice: 3"),
        (["run", "esrgan", "cat.jpg", "--quality", "9"], 2, "9 is not within 10 to 100"),
        (["run", "esrgan", "cat.jpg", "--image-quality", "9"], 2, "is a parameter of nomos-upscaler, not of esrgan"),
        (["run", "esrgen", "cat.jpg", "--scale", "4"], 2, r"did you mean esrgan\?"),
        (["run", "esrgan"], 2, "needs a picture"),
        (["run", "esrgan", "cat.jpg", "-p", "scale"], 2, "'scale' is not name=value"),
        (["request", "../../v1/get-user-credits"], 1, "request id"),
        (["upscale"], 2, "invalid choice: 'upscale'"),
        ([], 2, "COMMAND"),
    ],
)
def test_mistakes_cost_nothing(run, here, segmind_emulator, words, code, reported):
    (here / "notes.txt").write_text("no picture")
    done = run(*words)
    assert (done.code, done.out) == (code, "")
    assert re.search(reported, done.err)
    assert sent(segmind_emulator) == segmind_emulator.stats.uploads == 0


def test_a_wrong_key(run, env):
    done = run("run", "esrgan", "cat.jpg", env=env | {"SEGMIND_API_KEY": "wrong-key-of-mine"})
    assert (done.code, done.out) == (1, "")
    assert "SegmindAuthError" in done.err
    assert "wrong-key-of-mine" not in done.err


def test_an_unknown_model(run):
    done = run("run", "esrgan-9", "cat.jpg")
    assert (done.code, done.out) == (1, "")
    assert "SegmindUnknownModelError" in done.err


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


def test_a_request_that_is_finished(run, segmind_emulator):
    from airflow_provider_segmind.hooks.segmind import SegmindHook

    with SegmindHook() as hook:
        accepted = hook.submit("esrgan", {"image": segmind_emulator.add_image(ROOT / "tests/photos/cat.jpg")})
    segmind_emulator.advance(1)
    assert segmind_emulator.stats.billed == 1  # this waits until the picture is made
    done = run("request", accepted.request_id)
    assert (done.code, done.err) == (0, "")
    state, url, bill = done.out.splitlines()
    assert state == f"{accepted.request_id}: COMPLETED"
    assert url.startswith(segmind_emulator.url)
    assert bill.startswith("cost 0.005 credits")


@pytest.mark.segmind_emulator(latency=1.5)
def test_the_bar_fills_with_the_models_usual_time(here, env, quick_polls, monkeypatch):
    monkeypatch.setattr(MODELS["bria-increase-resolution"], "expected_seconds", 2.0)
    terminal = env | {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}  # a terminal, for rich; without colours
    done = call("run", "bria-increase-resolution", "cat.jpg", "-o", "out.png", cwd=here, env=terminal)
    assert done.code == 0, done.err
    widths = [len(bar) for bar in re.findall("━+", done.err)]
    assert widths == sorted(widths)
    assert len(set(widths)) > 2
    assert widths[-1] < 40  # of 40: Segmind has not said yet that it is finished


# --- connections, and Airflow's own command ----------------------------------------------------------------------


def test_a_connection_that_is_not_there_is_not_replaced_by_the_environments_key(run, airflow_db):
    done = run("credits", "--conn-id", "nowhere")
    assert (done.code, done.out) == (1, "")
    assert "there is no Airflow connection 'nowhere'" in done.err


@needs_provider_commands
def test_airflow_segmind(run, segmind_emulator):
    done = run("credits", program=airflow)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "100 credits"
    done = run("run", "esrgan", "dog.jpg", program=airflow)
    assert (done.code, done.out) == (1, "")
    assert "it does not exist" in done.err
    assert sent(segmind_emulator) == 0


@needs_provider_commands
def test_airflow_knows_every_command_and_option(capsys):
    from airflow.cli.cli_parser import get_parser

    for command in COMMANDS:
        with pytest.raises(SystemExit):
            get_parser().parse_args(["segmind", command.name, "--help"])
        shown = capsys.readouterr().out
        flags = []
        command.arguments(lambda *names, found=flags, **_: found.extend(names))
        assert [flag for flag in flags if flag.startswith("--") and flag not in shown] == []
    assert "[@PROBABILITY]" in shown  # the emulator's: not taken for markup
