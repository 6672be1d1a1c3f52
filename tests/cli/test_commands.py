"""Each command as a process, against the emulator over real sockets."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from airflow_provider_segmind.cli.arguments import COMMANDS
from airflow_provider_segmind.cli.parameters import parameters_of
from airflow_provider_segmind.protocol.models import MODELS
from tests.airflow_versions import needs_provider_commands
from tests.cli.terminal import AIRFLOW, MODULE, ROOT, environment, segmind, start


@pytest.fixture
def here(tmp_path, photos):
    """A folder with a picture."""
    shutil.copy(photos / "cat.jpg", tmp_path / "cat.jpg")  # 300 x 200
    return tmp_path


@pytest.fixture
def env(here, segmind_emulator):
    return environment(here, segmind_emulator)


@pytest.fixture
def run(here, env, segmind_emulator):
    """Runs a command; whatever it says, no key is in it, no colour and no traceback."""

    def command(*words, **changes):
        done = segmind(*words, **{"cwd": here, "env": env, **changes})
        for text in (done.out, done.err):
            assert segmind_emulator.api_key not in text
            assert "Traceback" not in text
            assert "\x1b" not in text
        return done

    return command


def sent(emulator):
    return emulator.stats.submits_attempted


# --- what needs no request --------------------------------------------------------------------------------------


def test_help_imports_no_airflow(here, env):
    code = (
        "import sys\nfrom airflow_provider_segmind.cli.main import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print('HEAVY', sorted({'airflow', 'httpx', 'aiohttp', 'starlette', 'PIL'} & set(sys.modules)))"
    )
    for words in (["--help"], ["run", "--help"], ["models"]):
        done = segmind(*words, cwd=here, env=env, program=(sys.executable, "-c", code))
        assert done.out.rstrip().endswith("HEAVY []"), done


def test_credits(run, here):
    done = run("credits")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "100 credits"
    assert not list(here.rglob("*.db"))  # no database was made, or asked


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_emulator(here, env, number):
    process = start((*MODULE, "emulator", "--port", "0", "--credits", "7"), cwd=here, env=env)
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert segmind("credits", cwd=here, env=env | {"SEGMIND_GATEWAY": url[0]}).out.startswith("7 credits")
        process.send_signal(number)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_emulator_with_a_mistake(run):
    done = run("emulator", "--queue-share", "3")
    assert done.code == 2
    assert "queue_share" in done.err


# --- run --------------------------------------------------------------------------------------------------------


def test_run(run, here, segmind_emulator):
    done = run("run", "esrgan", "cat.jpg", "--scale", "4", "-o", "out.png")
    assert done.code == 0, done.err
    with Image.open(here / "out.png") as picture:
        assert (picture.size, picture.format) == ((1200, 800), "PNG")
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
    assert not list(here.rglob("*.db"))


def test_run_names_the_result_itself_and_takes_what_is_inside_the_answer(run, here, segmind_emulator):
    done = run("run", "nomos-upscaler", "cat.jpg", "--base64", "--image-format", "webp")
    assert done.code == 0, done.err
    with Image.open(here / "cat-nomos-upscaler.webp") as picture:
        assert picture.size == (1200, 800)
    assert "by data" in done.err
    assert segmind_emulator.stats.uploads == 0


@pytest.mark.segmind_emulator(extra_models=("mine",))
def test_run_any_other_model(run, here, segmind_emulator):
    url = segmind_emulator.add_picture(here / "cat.jpg")
    done = run("run", "mine", "-p", f"image={url}", "-p", "n=2", "-p", "word=[red]two words", "-o", "x.png")
    assert done.code == 0, done.err
    [request] = segmind_emulator.requests
    assert request.parameters == {"image": url, "n": 2, "word": "[red]two words"}
    assert "word=[red]two words" in done.err
    with Image.open(here / "x.png") as picture:
        assert picture.format


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["run", "esrgan", "dog.jpg"], 1, r"dog\.jpg: FileNotFoundError.* Nothing was sent"),
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
def test_mistakes_cost_nothing(run, here, segmind_emulator, words, code, said):
    (here / "notes.txt").write_text("no picture")
    done = run(*words)
    assert (done.code, done.out) == (code, "")
    assert re.search(said, done.err)
    assert sent(segmind_emulator) == segmind_emulator.stats.uploads == 0


def test_no_key(run, here):
    done = run("credits", env=environment(here))
    assert (done.code, done.out) == (1, "")
    assert "SEGMIND_API_KEY is not set, and there is no Airflow connection 'segmind_default'" in done.err
    assert "--conn-id ID" in done.err


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


@pytest.mark.segmind_emulator(latency=900.0)
def test_interrupted_and_fetched_later(run, here, env, segmind_emulator):
    process = start((*MODULE, "run", "esrgan", "cat.jpg", "-o", "out.png"), cwd=here, env=env)
    try:
        said = ""
        while not (found := re.search(r"^request +(\S+)$", said, re.M)):
            line = process.stderr.readline()
            assert line, said
            said += line
        time.sleep(0.5)  # it is waiting
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    hint = re.search(r"python -m airflow_provider_segmind (request (\S+) -o out\.png)", rest)
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert "billed if it completes" in rest
    assert hint[2] == found[1]

    still = run("request", found[1])
    assert (still.code, still.out) in [(0, f"{found[1]}: {state}\n") for state in ("QUEUED", "PROCESSING")]
    segmind_emulator.advance(900)
    done = run(*hint[1].split())
    assert done.code == 0, done.err
    with Image.open(here / "out.png") as picture:
        assert (picture.size, picture.format) == ((600, 400), "PNG")
    assert sent(segmind_emulator) == 1

    segmind_emulator.advance(3600)  # now the record is gone
    later = run("request", found[1], "-o", "later.png")
    assert later.code == 0, later.err
    assert "says the request history" in later.out
    assert (here / "later.png").read_bytes() == (here / "out.png").read_bytes()


def test_an_unknown_request(run):
    done = run("request", "7c9e6679-7425-40de-944b-e07fc1f90ae7")
    assert (done.code, done.out) == (1, "")
    assert "SegmindRequestExpiredError" in done.err


def test_a_request_that_is_finished(run, segmind_emulator):
    from airflow_provider_segmind.hooks.segmind import SegmindHook

    with SegmindHook() as hook:
        accepted = hook.submit("esrgan", {"image": segmind_emulator.add_picture(ROOT / "tests/photos/cat.jpg")})
    segmind_emulator.advance(1)
    done = run("request", accepted.request_id)
    assert (done.code, done.err) == (0, "")
    state, url, bill = done.out.splitlines()
    assert state == f"{accepted.request_id}: COMPLETED"
    assert url.startswith(segmind_emulator.url)
    assert bill.startswith("cost 0.005 credits")


@pytest.mark.segmind_emulator(latency=1.5)
def test_on_a_terminal_there_is_a_bar(here, env):
    main_end, terminal = pty.openpty()
    words = [*MODULE, "run", "bria-increase-resolution", "cat.jpg", "-o", "out.png"]
    with subprocess.Popen(words, cwd=here, env=env | {"TERM": "xterm"}, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        seen = b""
        try:
            while chunk := os.read(main_end, 65536):
                seen += chunk
        except OSError:  # Linux says so when the other end is closed
            pass
    os.close(main_end)
    text = seen.decode()
    assert process.returncode == 0, text
    assert "━" in text
    assert "submitted" in text
    assert "0:00:01" in text


# --- connections, and Airflow's own command ----------------------------------------------------------------------


def test_a_connection_of_airflows_database(airflow_db, here, run, segmind_emulator):
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    kept = {name: value for name, value in os.environ.items() if name != "AIRFLOW_CONN_SEGMIND_DEFAULT"}
    with create_session() as session:
        session.add(
            Connection(
                conn_id="of_the_database",
                conn_type="segmind",
                host=segmind_emulator.url,
                password=segmind_emulator.api_key,
            )
        )
    env = kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}  # those of Airflow 2, which this is not about
    done = run("credits", "--conn-id", "of_the_database", env=env)
    assert (done.code, done.err) == (0, "")
    assert "connection of_the_database" in done.out


def test_a_connection_that_is_not_there_is_not_replaced_by_the_environments_key(run, env):
    done = run("credits", "--conn-id", "nowhere")
    assert (done.code, done.out) == (1, "")
    assert "there is no Airflow connection 'nowhere'" in done.err


@needs_provider_commands
def test_airflow_segmind(run, segmind_emulator):
    done = run("credits", program=AIRFLOW)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "100 credits"
    done = run("run", "esrgan", "dog.jpg", program=AIRFLOW)
    assert (done.code, done.out) == (1, "")
    assert "dog.jpg: FileNotFoundError" in done.err
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
