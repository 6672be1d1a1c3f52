"""Links on a task instance: the model's page, and the output. Written when the task ends, defers or fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_segmind.protocol.models import MODEL_PAGE

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey


class SegmindModelLink(BaseOperatorLink):
    """The page of the model: what it does, its parameters, its price."""

    name = "Segmind model"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the model's page."""
        slug = getattr(operator, "model", None)
        return MODEL_PAGE.format(slug=slug) if isinstance(slug, str) else ""


class SegmindOutputLink(BaseOperatorLink):
    """The stored object where there is one, else the vendor's output; empty until there is an output."""

    name = "Upscaled picture"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address of the output."""
        return getattr(operator, "output_link", None) or ""
