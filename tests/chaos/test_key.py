"""The key goes only to the gateway: not into a log, a table or an error, and not to another host."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.chaos.leaks import FAILING, MODES, SCENARIOS, add_faults, trigger_arguments, where
from tests.chaos.rig import Rig

RUN = ("chaos_key", "key")


def _debug_rig(home, key: str) -> Rig:
    models = [option for scenario in SCENARIOS for mode in MODES for option in ("--model", f"{scenario}-{mode}")]
    return Rig(
        home,
        dags=("chaos_key",),
        emulator_options=("--latency", "1.5", *models),
        connection_fields={"password": key, "extra": {"allow_http": True, "output_hosts": "127.0.0.1"}},
        environ={"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG", "AIRFLOW__LOGGING__NAMESPACE_LEVELS": ""},
    )


@pytest.mark.chaos
def test_the_key_is_nowhere(tmp_path):
    key = f"SG_{secrets.token_hex(8)}"
    triggers: set[str] = set()
    with _debug_rig(tmp_path / "home", key) as rig:
        add_faults(rig)
        rig.api.trigger_dag(*RUN)

        def ended() -> bool:
            triggers.update(trigger_arguments(rig))
            return bool(rig.api.has_ended(*RUN))

        rig.wait("the run ends", ended, seconds=120)
        states = {ti["task_id"]: ti["state"] for ti in rig.api.instances(*RUN)}
        for task_id, state in states.items():
            if state == "success":
                rig.api.returned(*RUN, task_id)
        stats, seen = rig.stats(), rig.images.seen
        assert not where(key, rig, triggers)

    # Every intended failure occurred.
    failing = {"private_output", *(f"{scenario}_{mode}" for scenario in FAILING for mode in MODES)}
    assert {task for task, state in states.items() if state == "failed"} == failing, states
    assert triggers
    assert rig_logged_at_debug(rig)
    assert stats["keys_seen_on_downloads"] == 0
    assert stats["keys_seen_elsewhere"] == 0
    paths = {path for path, _ in seen}
    assert {"/elsewhere.jpg", "/private/output.png"} <= paths
    assert not {path for path in paths if "stolen" in path}
    assert not [path for path, sent in seen if key in sent or "authorization" in sent.lower()]
    assert not where(key, rig, triggers), "after everything has stopped"


def rig_logged_at_debug(rig: Rig) -> bool:
    """Return whether the logs of the tasks contain debug lines of the HTTP client."""
    for path in (rig.path / "logs").glob("dag_id=chaos_key/**/*.log"):
        lines = [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
        if any(line.get("level") == "debug" and "http" in str(line.get("logger")) for line in lines):
            return True
    return False
