"""What Airflow discovers about this package."""

from __future__ import annotations

from typing import Any

from airflow_provider_segmind import __version__

#: Guides of the operators, in docs/how-to/.
_GUIDES = (
    "esrgan",
    "nomos-upscaler",
    "bria-increase-resolution",
    "other-models",
    "thousand-images",
    "taskflow",
    "split-pipeline",
    "budgets",
)


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, in the form of Airflow's ``provider_info.schema.json``."""
    name = "Segmind"
    package = "airflow_provider_segmind"
    return {
        "package-name": "airflow-provider-segmind",
        "name": name,
        "description": "Upscale images with `Segmind <https://www.segmind.com>`__: deferrable, paid once, stored.",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": name,
                "external-doc-url": "https://docs.segmind.com",
                "how-to-guide": [f"/docs/how-to/{guide}.md" for guide in _GUIDES],
                "logo": "/docs/integration-logos/segmind.svg",
                # From the list that Airflow's own providers are limited to.
                "tags": ["service", "ai", "ai-inference", "generative-ai"],
            }
        ],
        "hooks": [{"integration-name": name, "python-modules": [f"{package}.hooks.segmind"]}],
        "operators": [{"integration-name": name, "python-modules": [f"{package}.operators.segmind"]}],
        "sensors": [{"integration-name": name, "python-modules": [f"{package}.sensors.segmind"]}],
        "triggers": [
            {
                "integration-name": name,
                "python-modules": [
                    f"{package}.triggers.{module}" for module in ("segmind", "rate_limit", "batch", "credits")
                ],
            }
        ],
        "task-decorators": [{"class-name": f"{package}.decorators.segmind.segmind_task", "name": "segmind"}],
        "transfers": [
            {
                "source-integration-name": name,
                "target-integration-name": "Object storage",
                "how-to-guide": "/docs/how-to/split-pipeline.md",
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
                "description": "Settings of the Segmind provider.",
                "options": {
                    "serve_previews": {
                        "description": "Write a small preview (WebP, 512 pixels at most) of input and output beside "
                        "each stored image, and serve these to users who may read the DAG, through the API server "
                        "and with the connection of the storage. Set it on workers and API servers. What is "
                        "visible to whom: docs/security.md.",
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
                    "relabeling": {"password": "API key", "host": "Gateway URL"},
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
        "upload_url": field("Upload URL", "Host for uploads of inputs. Default: Segmind's, or the gateway if set."),
        "history_url": field("History URL", "Host of the request history. Default: Segmind's, or the gateway if set."),
        "connect_timeout": field("Connect timeout", "Seconds to connect to a host. Default: 10.", "number"),
        "read_timeout": field("Read timeout", "Seconds between two pieces of a response. Default: 60.", "number"),
        "verify": field("Verify TLS certificates", "true, false, or the path of a CA file. Default: true."),
        "proxy": field("Proxy", "URL of an HTTP proxy for every call, such as http://proxy:3128. Default: none."),
        "output_hosts": field(
            "Output hosts",
            "Comma-separated hosts from which outputs may be downloaded, such as *.segmind.com. Default: the gateway, "
            "and every https host with a public address.",
        ),
        "polls_per_minute": field(
            "Polls per minute",
            "Polls that all waiting requests of a triggerer share. Default: no limit.",
            "number",
        ),
        "poll_error_timeout": field(
            "Poll error timeout",
            "Seconds for which polls of a submitted request may be refused before the wait ends with a retryable "
            "error. Default: 60.",
            "number",
        ),
        "min_remaining_credits": field(
            "Minimum remaining credits", "Submit nothing while the balance is below this. Default: no check.", "number"
        ),
        "allow_http": field(
            "Allow plain http", "Send the key over plain http to other machines, too. Default: false.", "boolean"
        ),
    }
