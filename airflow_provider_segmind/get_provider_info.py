"""What Airflow discovers about this package."""

from __future__ import annotations

from typing import Any

from airflow_provider_segmind import __version__


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, in the form of Airflow's ``provider_info.schema.json``."""
    name = "Segmind"
    package = "airflow_provider_segmind"
    return {
        "package-name": "airflow-provider-segmind",
        "name": name,
        "description": "Upscale pictures with `Segmind <https://www.segmind.com>`__: deferrable, paid once, stored.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": name,
                "external-doc-url": "https://docs.segmind.com",
                "tags": ["service", "ai", "images"],
            }
        ],
        "hooks": [{"integration-name": name, "python-modules": [f"{package}.hooks.segmind"]}],
        "operators": [{"integration-name": name, "python-modules": [f"{package}.operators.segmind"]}],
        "sensors": [{"integration-name": name, "python-modules": [f"{package}.sensors.segmind"]}],
        "triggers": [
            {
                "integration-name": name,
                "python-modules": [
                    f"{package}.triggers.{module}" for module in ("segmind", "gate", "batch", "credits")
                ],
            }
        ],
        "task-decorators": [{"class-name": f"{package}.decorators.segmind.segmind_task", "name": "segmind"}],
        "transfers": [
            {
                "source-integration-name": name,
                "target-integration-name": "Object storage",
                "python-module": f"{package}.transfers.segmind_to_object_storage",
            }
        ],
        "cli": [f"{package}.cli.definition.get_segmind_cli_commands"],
        "extra-links": [
            *(f"{package}.links.pages.Segmind{link}Link" for link in ("Tab", "Page")),
            *(f"{package}.links.segmind.Segmind{link}Link" for link in ("Model", "Output", "Stored")),
        ],
        "config": {
            "segmind": {
                "description": "What the provider for Segmind does beside its tasks.",
                "options": {
                    "serve_previews": {
                        "description": "Write a small preview (WebP, 512 pixels at most) of input and output beside "
                        "each stored picture, and serve these to users who may read the DAG, through the API server "
                        "and with the connection of the storage. Set it on workers and API servers alike. What is "
                        "exposed to whom: docs/security.md.",
                        "version_added": "0.1.0",
                        "type": "boolean",
                        "example": None,
                        "default": "False",
                    }
                },
            }
        },
        "connection-types": [
            {
                "connection-type": "segmind",
                "hook-class-name": f"{package}.hooks.segmind.SegmindHook",
                "hook-name": name,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "port"],
                    "relabeling": {"password": "API key", "host": "Gateway address"},
                    "placeholders": {
                        "password": "SG_… (from the Segmind console)",
                        "host": "https://api.segmind.com (leave empty for Segmind itself)",
                    },
                },
                "conn-fields": _conn_fields(),
            }
        ],
    }


def _conn_fields() -> dict[str, Any]:
    """Return the extras of the connection form: name -> label, help and type."""

    def field(label: str, description: str, kind: str = "string", **schema: Any) -> dict[str, Any]:
        return {"label": label, "description": description, "schema": {"type": [kind, "null"], **schema}}

    return {
        "upload_url": field("Upload address", "Where inputs are uploaded. Empty: Segmind's, or the gateway if set."),
        "history_url": field("History address", "Where requests are listed. Empty: Segmind's, or the gateway if set."),
        "connect_timeout": field("Connect time-out", "Seconds to reach a host. Empty: 10.", "number"),
        "read_timeout": field("Read time-out", "Seconds between two pieces of an answer. Empty: 60.", "number"),
        "verify": field("Check TLS certificates", "true, false, or the path of a CA file. Empty: true."),
        "proxy": field("Proxy", "Address of an HTTP proxy for everything, such as http://proxy:3128."),
        "output_hosts": field(
            "Output hosts",
            "Hosts from which outputs may come, with commas, such as *.segmind.com. Empty: any public https host.",
        ),
        "polls_per_minute": field(
            "Looks a minute",
            "How many looks at requests all waits of a triggerer share. Empty: as many as are due.",
            "number",
        ),
        "poll_error_timeout": field(
            "Seconds of refused polls",
            "How long polls of a submitted request may be refused before the wait ends with an error. Empty: 60.",
            "number",
        ),
        "min_remaining_credits": field(
            "Least balance", "Submit nothing while the balance is below this many credits. Empty: no check.", "number"
        ),
        "allow_http": field("Allow plain http", "Send the key over plain http to other machines too.", "boolean"),
    }
