"""The command. It serves in a process of its own; its errors and its help are tested in this one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from airflow_provider_segmind.emulator.__main__ import main

ROOT = Path(__file__).parents[2]
MODULE = [sys.executable, "-m", "airflow_provider_segmind.emulator"]


def run(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*MODULE, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_start_use_and_stop(number):
    process = run("--port", "0", "--latency", "0", "--api-key", "secret", "--credits", "7",
                  "--model", "mine", "--faults", "submit:502#1, credits:html@0")  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"on (http://127\.0\.0\.1:\d+) - AIRFLOW_CONN_SEGMIND_DEFAULT='(.*?)'", line)
        assert found, line
        samples = [f"{found[1]}/samples/{name}" for name in ("cat.jpg", "galaxies.webp", "portrait-alpha.png")]
        assert process.stdout.readline() == f"Sample images: {', '.join(samples)}\n"
        assert [httpx.get(url).status_code for url in samples] == [200, 200, 200]
        connection = json.loads(found[2])
        assert connection == {"conn_type": "segmind", "host": found[1], "password": "secret"}
        headers = {"x-api-key": "secret"}
        assert httpx.get(f"{found[1]}/v1/get-user-credits", headers=headers).json()["credits"] == 7
        codes = [httpx.post(f"{found[1]}/v2/mine", json={}, headers=headers).status_code for _ in range(2)]
        assert codes == [502, 200]
        process.send_signal(number)
        assert process.wait(60) == 0
        rest, errors = process.communicate()
        assert (rest, errors) == ("", "")
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--faults", "submit:nonsense"], "nonsense"),
        (["--latency", "slow"], "latency"),
        (["--queue-share", "3"], "queue_share"),
        (["--history-page", "0"], "history_page"),
    ],
)
def test_mistakes_are_reported(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--port", "0", *arguments])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_options_of_the_history_and_the_clock():
    process = run("--port", "0", "--team", "--history-page", "1", "--history-rows", "2", "--history-pending",
                  "--history-relative", "--clock-skew", "-90", "--faults", "submit:status_after:504#1")  # fmt: skip
    try:
        assert process.stdout is not None
        connection = json.loads(process.stdout.readline().split("'")[1])
        one, other = ({"x-api-key": key} for key in (connection["password"], "SG_" + "b" * 16))
        with httpx.Client(base_url=connection["host"], trust_env=False) as http:
            codes = [http.post("/v2/echo-model", json={}, headers=key).status_code for key in (one, other)]
            response = http.get("/inference-request/request-history", headers=one)
            shown = response.json()
        assert codes == [504, 200]
        assert (len(shown["data"]), shown["total"], shown["data"][0]["model_status"]) == (1, 2, "PENDING")
        sent = parsedate_to_datetime(response.headers["date"]).timestamp()
        assert sent - time.time() == pytest.approx(-90, abs=5)
    finally:
        process.kill()
        process.wait()


def test_an_address_of_another_machine():
    process = run("--port", "0", "--host", "192.0.2.1")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "cannot listen" in errors
    assert "Traceback" not in errors


def test_help_explains_faults(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for word in ("drop_after", "lognormal", "PROBABILITY", "--rate-limit", "--retention"):
        assert word in text


def test_importing_the_plugin_is_cheap():
    """Every pytest run on the machine loads the plugin, so it must not import the server."""
    code = (
        "import sys, pytest; import airflow_provider_segmind.emulator.pytest_plugin;"
        "print([name for name in ('starlette', 'uvicorn', 'PIL', 'airflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_emulator_imports_nothing_of_the_package():
    code = (
        "import sys; from airflow_provider_segmind.emulator import Emulator;"
        "print([name for name in sys.modules if name.startswith('airflow_provider_segmind.')"
        " and not name.startswith('airflow_provider_segmind.emulator')"
        " or name in ('httpx', 'airflow', 'pydantic')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_fixture_in_a_suite_of_its_own(tmp_path):
    (tmp_path / "test_dag.py").write_text("""
import json, os
import urllib.request
import pytest

def call(emulator, path, data=None):
    request = urllib.request.Request(emulator.url + path, data, {
        "x-api-key": emulator.api_key, "content-type": "application/json"})
    return json.load(urllib.request.urlopen(request))

def test_one(segmind_emulator):
    connection = json.loads(os.environ["AIRFLOW_CONN_SEGMIND_DEFAULT"])
    assert connection["host"] == segmind_emulator.url
    call(segmind_emulator, "/v2/echo-model", b"{}")
    assert segmind_emulator.stats.billed == 1

@pytest.mark.segmind_emulator(credits=3)
def test_two(segmind_emulator):
    assert segmind_emulator.stats.submits_accepted == 0
    assert call(segmind_emulator, "/v1/get-user-credits")["credits"] == 3

def test_three(segmind_emulator):
    assert call(segmind_emulator, "/v1/get-user-credits")["credits"] == 100

def test_without():
    assert "AIRFLOW_CONN_SEGMIND_DEFAULT" not in os.environ
""")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "AIRFLOW_CONN_SEGMIND_DEFAULT" and not name.startswith("PYTEST_")
    }
    environment |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    plugin = "airflow_provider_segmind.emulator.pytest_plugin"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", plugin, "-p", "no:cacheprovider", "."],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
