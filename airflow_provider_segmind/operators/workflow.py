"""SegmindRunWorkflowOperator: a PixelFlow workflow, run like a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.links.pages import SegmindPageLink, SegmindTabLink
from airflow_provider_segmind.links.segmind import SegmindOutputLink, SegmindStoredLink
from airflow_provider_segmind.operators.run_model import SegmindRunModelOperator


class SegmindRunWorkflowOperator(SegmindRunModelOperator):
    """
    Run a PixelFlow workflow: submit once, wait, hand over (and store) its outputs by name.

    Returns what :class:`.SegmindRunModelOperator` returns, with ``named``: each output by the name that it has in the
    workflow, a URL, a text or any JSON; null in place of what is too long for XCom (a picture as base64). With a
    destination every output is stored: in a folder as ``<task id>_<name>.<extension>``, and ``stored`` tells the
    ``name``; texts become ``.txt``, other values ``.json``. A workflow that ends in videos or sounds is stored like
    one that ends in pictures. Because the names are known only then, ``skip_existing`` is refused, and in a folder
    ``if_exists="fail"`` is found out only when an object is about to be replaced. The ledger works as for models; a
    submit whose answer was lost is found again as far as the request history lists the workflow under its slug, else
    the task asks a person (``on_lost_submit``).

    The other arguments: :class:`.SegmindRunModelOperator`.

    :param workflow: slug of the workflow. (templated)
    :param inputs: its inputs by name; they are not checked before they are sent. (templated)
    """

    runs_workflow: ClassVar[bool] = True
    # A workflow has no model page.
    operator_extra_links = (SegmindTabLink(), SegmindPageLink(), SegmindOutputLink(), SegmindStoredLink())

    def __init__(
        self,
        *,
        workflow: str,
        inputs: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model=workflow, parameters=inputs, **kwargs)
        if self._on_existing == "skip":
            raise SegmindConfigError(
                "a workflow names its outputs once they are there: skip_existing=True and if_exists='skip' cannot "
                "look for them"
            )
