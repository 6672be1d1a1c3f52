"""What needs a process: exit codes, signals, a terminal, and an Airflow that is not set up."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from tests.airflow_versions import needs_provider_commands
from tests.cli.terminal import AIRFLOW, MODULE, ROOT, as_process, call, environment, started


def test_help_imports_no_airflow(here, env):
    code = (
        "import sys\nfrom airflow_provider_segmind.cli.main import main\n"
        "for typed in (['--help'], ['run', '--help'], ['models']):\n"
        "    try: main(typed)\n    except SystemExit: pass\n"
        "    print('HEAVY', sorted({'airflow', 'httpx', 'aiohttp', 'starlette', 'PIL'} & set(sys.modules)))"
    )
    done = as_process(cwd=here, env=env, program=(sys.executable, "-c", code))
    assert re.findall("^HEAVY .*", done.out, re.M) == ["HEAVY []"] * 3, done


def test_run(here, env, checked, segmind_emulator):
    done = checked(as_process("run", "esrgan", "cat.jpg", "--scale", "4", "-o", "out.png", cwd=here, env=env))
    assert done.code == 0, done.err
    with Image.open(here / "out.png") as image:
        assert (image.size, image.format) == ((1200, 800), "PNG")
    [request] = segmind_emulator.requests
    reported = [
        "image",
        "model",
        "output",
        "billed by",
        "request",
        *re.findall(r"^(?:queued|processing), \d+ s of 600 s$", done.err, re.M),
    ]
    assert [re.split(r"\s{2,}", line)[0] for line in done.err.splitlines()] == reported  # nothing of Airflow's log
    assert request.request_id in done.err
    stored, bill = done.out.splitlines()
    assert stored.startswith(f"{here / 'out.png'}: 1200 x 800 pixels, image/png")
    assert bill.startswith("cost 0.005 USD, balance 99.995 credits")
    assert (segmind_emulator.stats.uploads, segmind_emulator.stats.billed) == (1, 1)
    assert not list(here.rglob("*.db"))  # no database was made or read


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_emulator(here, env, number):
    with started("emulator", "--port", "0", "--credits", "7", cwd=here, env=env) as emulator:
        url = emulator.match(r"http://127\.0\.0\.1:\d+")[0]
        assert call("credits", cwd=here, env=env | {"SEGMIND_GATEWAY": url}).out.startswith("7 credits")
        assert emulator.end(number).code == 0


def test_no_key(here, checked):
    done = checked(as_process("credits", cwd=here, env=environment(here)))
    assert (done.code, done.out) == (1, "")
    assert "SEGMIND_API_KEY is not set, and the Airflow connection 'segmind_default' does not exist" in done.err
    assert "--conn-id ID" in done.err


@pytest.mark.segmind_emulator(latency=900.0)
def test_interrupted_and_fetched_later(run, here, env, segmind_emulator):
    with started("run", "esrgan", "cat.jpg", "-o", "out.png", cwd=here, env=env) as command:
        request_id = command.match(r"^request +(\S+)$", in_err=True)[1]
        command.until(lambda: segmind_emulator.stats.polls > 0)  # it is waiting
        done = command.end(signal.SIGINT)
    hint = re.search(r"python -m airflow_provider_segmind (request (\S+) -o out\.png)", done.err)
    assert done.code == 130
    assert "Traceback" not in done.err
    assert "billed if it completes" in done.err
    assert hint[2] == request_id

    still = run("request", request_id)
    assert (still.code, still.out) in [(0, f"{request_id}: {state}\n") for state in ("QUEUED", "PROCESSING")]
    segmind_emulator.advance(900)
    done = run(*hint[1].split())
    assert done.code == 0, done.err
    with Image.open(here / "out.png") as image:
        assert (image.size, image.format) == ((600, 400), "PNG")
    assert segmind_emulator.stats.submits_attempted == 1

    segmind_emulator.advance(3600)  # now the record has expired
    later = run("request", request_id, "-o", "later.png")
    assert later.code == 0, later.err
    assert "(from the request history)" in later.out
    assert (here / "later.png").read_bytes() == (here / "out.png").read_bytes()


def shown_on_a_terminal(*typed, cwd, env, seconds=120):
    """Return what a command writes to a terminal, and its exit code."""
    main_end, terminal = pty.openpty()
    process = subprocess.Popen(typed, cwd=cwd, env=env | {"TERM": "xterm"}, stdout=terminal, stderr=terminal)
    os.close(terminal)
    seen, deadline = b"", time.monotonic() + seconds
    try:
        while select.select([main_end], [], [], max(0, deadline - time.monotonic()))[0]:
            seen += (chunk := os.read(main_end, 65536))
            if not chunk:
                break
        else:
            pytest.fail(f"still running after {seconds} s, output:\n{seen.decode()}")
    except OSError:  # Linux raises it when the other end is closed
        pass
    finally:
        os.close(main_end)
        if time.monotonic() > deadline:
            process.kill()
        code = process.wait()
    return seen.decode(), code


@pytest.mark.segmind_emulator(latency=1.5)
def test_on_a_terminal_there_is_a_bar(here, env):
    command = (*MODULE, "run", "esrgan", "cat.jpg", "-o", "out.png")
    text, code = shown_on_a_terminal(*command, cwd=here, env=env)
    assert code == 0, text
    assert "━" in text
    assert "submitted" in text
    assert "0:00:01" in text


def test_a_connection_of_airflows_database(airflow_db, here, checked, segmind_emulator):
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    with create_session() as session:
        session.add(
            Connection(
                conn_id="of_the_database",
                conn_type="segmind",
                host=segmind_emulator.url,
                password=segmind_emulator.api_key,
            )
        )
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "AIRFLOW_CONN_SEGMIND_DEFAULT" and not name.startswith("PYTEST_")
    }
    env = kept | {
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }  # Airflow 2 warns; this test is about something else
    done = checked(as_process("credits", "--conn-id", "of_the_database", cwd=here, env=env))
    assert (done.code, done.err) == (0, "")
    assert "connection of_the_database" in done.out


@needs_provider_commands
def test_airflow_segmind(here, env, checked):
    done = checked(as_process("credits", cwd=here, env=env, program=AIRFLOW))
    assert done.code == 0, done.err
    assert done.out.startswith("100 credits at ")
