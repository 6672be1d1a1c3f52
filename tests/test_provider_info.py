"""What Airflow discovers fits its own schemas, and the names lead to something."""

from __future__ import annotations

import importlib
import json
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema

from airflow_provider_segmind import __version__
from airflow_provider_segmind.get_provider_info import get_provider_info
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.protocol.settings import EXTRAS

ROOT = Path(__file__).parents[1]
INFO = get_provider_info()
[CONNECTION] = INFO["connection-types"]


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(airflow.__file__).parent / name).read_text())
    return found


def test_it_fits_airflows_schema():
    jsonschema.validate(INFO, schema("provider_info.schema.json"))


def test_the_connection_fits_the_stricter_schema_that_airflows_own_providers_are_held_to():
    jsonschema.validate(INFO["connection-types"], schema("provider.yaml.schema.json")["properties"]["connection-types"])


def test_the_entry_points_find_it():
    [found] = entry_points(group="apache_airflow_provider").select(module="airflow_provider_segmind.get_provider_info")
    assert found.load()() == INFO
    assert INFO["versions"] == [__version__]


def test_every_name_points_to_something():
    names = [CONNECTION["hook-class-name"], *INFO["extra-links"], *INFO["cli"]]
    names += [entry["class-name"] for entry in INFO["task-decorators"]]
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
    modules = [
        m
        for kind in ("hooks", "operators", "sensors", "triggers")
        for entry in INFO[kind]
        for m in entry["python-modules"]
    ]
    for module in [*modules, *(entry["python-module"] for entry in INFO["transfers"])]:
        importlib.import_module(module)


def test_the_integration_fits_the_stricter_schema_and_its_files_exist():
    rules = schema("provider.yaml.schema.json")["properties"]["integrations"]
    jsonschema.validate(INFO["integrations"], rules)
    [integration] = INFO["integrations"]
    files = [*integration["how-to-guide"], integration["logo"], *(t["how-to-guide"] for t in INFO["transfers"])]
    assert [name for name in files if not (ROOT / name.removeprefix("/")).is_file()] == []


def test_every_operator_has_a_guide():
    """Each public class of the operators, the sensors and the transfer is named on a page of the guides."""
    guides = INFO["integrations"][0]["how-to-guide"]
    text = "\n".join((ROOT / name.removeprefix("/")).read_text(encoding="utf-8") for name in guides)
    entries = [*INFO["operators"], *INFO["sensors"]]
    modules = [module for entry in entries for module in entry["python-modules"]]
    modules += [entry["python-module"] for entry in INFO["transfers"]]
    # Operators are loaded when they are asked for: __all__ names them.
    found = {
        name
        for module in map(importlib.import_module, modules)
        for name in {*vars(module), *getattr(module, "__all__", ())}
    }
    bases = {"SegmindRequestOperator", "SegmindSensor"}
    classes = {name for name in found if re.fullmatch(r"Segmind\w*(Operator|Sensor)", name)} - bases
    assert len(classes) >= 6
    assert {name for name in classes if name not in text} == set()


def test_airflow_reads_the_setting():
    from airflow.configuration import conf
    from airflow.providers_manager import ProvidersManager

    ProvidersManager().initialize_providers_configuration()  # as every process of Airflow 2 does
    assert conf.getboolean("segmind", "serve_previews") is False  # without a fallback: its default is ours
    [option] = INFO["config"]["segmind"]["options"].values()
    assert "docs/security.md" in option["description"]


def test_the_form_shows_what_means_something():
    behaviour = CONNECTION["ui-field-behaviour"]
    assert set(behaviour["hidden-fields"]) == {"login", "port", "schema"}
    assert behaviour["relabeling"] == {"password": "API key", "host": "Gateway URL"}
    assert "https://api.segmind.com" in behaviour["placeholders"]["host"]
    assert set(CONNECTION["conn-fields"]) == EXTRAS
    assert all(field["label"] and field["description"] for field in CONNECTION["conn-fields"].values())
    assert CONNECTION["connection-type"] == SegmindHook.conn_type
    assert CONNECTION["hook-name"] == SegmindHook.hook_name
