"""One job: its status at a given moment, and the response bodies that describe it.

"Job" is the emulator's word for a request at Segmind, because "request" means an HTTP call in this package.
No thread drives a job: its status is computed from the clock when a call reads it. Only the pixel work runs
in a thread, and a job does not end before that work does.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .catalogue import Model
    from .faults import Fault
    from .pixels import Product

QUEUED, PROCESSING, COMPLETED, FAILED = "QUEUED", "PROCESSING", "COMPLETED", "FAILED"
NEVER = float("inf")


@dataclass
class Job:
    """An accepted request. Times are seconds on the emulator's clock."""

    request_id: str
    model: Model
    parameters: dict[str, Any]
    owner: str
    """A digest of the key that submitted it. Keys themselves are not stored."""
    submitted_at: float
    starts_at: float
    ends_at: float
    work: Future[Product]
    workflow: bool = False
    seed: int | None = None
    forced_status: str | None = None
    """A status that is reported for ever instead of the true one."""
    output_hidden: bool = False
    user_agent: str = ""
    polls: int = 0
    results: int = 0
    finished: bool = False
    """Whether its end has been processed and billed. Until then it is reported as PROCESSING."""
    billed: bool = False
    remaining_credits: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def apply_fault(self, fault: Fault) -> None:
        """Change the job by a fault of its submit."""
        if fault.kind == "stuck":
            self.ends_at = NEVER
        elif fault.kind == "unknown_status":
            self.ends_at = NEVER
            self.forced_status = fault.argument or "PAUSED"
        elif fault.kind == "no_output":
            self.output_hidden = True

    def is_over(self, now: float) -> bool:
        """Return whether its time is over and its pixel work is done."""
        return now >= self.ends_at and self.work.done()

    def status(self, now: float) -> str:
        """Return the status that the gateway reports at this moment."""
        if self.forced_status is not None:
            return self.forced_status
        if not self.finished:
            return QUEUED if now < self.starts_at else PROCESSING
        return COMPLETED if self.error() is None else FAILED

    def error(self) -> str | None:
        """Return why the work failed; None if it succeeded or is not done."""
        if not self.work.done():
            return None
        if self.work.cancelled():
            return "The emulator was stopped during the work"
        failure = self.work.exception()
        return None if failure is None else str(failure) or type(failure).__name__

    def file_name(self) -> str:
        """Return the file name of the output. Only for a job whose work succeeded."""
        return f"{self.request_id}.{self.work.result().extension}"

    def metrics(self, now: float) -> dict[str, Any]:
        """Return times in seconds and, once the job is billed, the cost in USD."""
        started, ended = min(now, self.starts_at), min(now, self.ends_at)
        metrics: dict[str, Any] = {
            "queue_time": round(started - self.submitted_at, 3),
            "inference_time": round(max(0.0, ended - self.starts_at), 3),
            "total_time": round(ended - self.submitted_at, 3),
        }
        if self.billed:
            metrics = {"cost": self.model.cost, "remaining_credits": self.remaining_credits} | metrics
        return metrics


def urls(base_url: str, request_id: str) -> dict[str, str]:
    """Return the URLs in the response to a submit."""
    return {
        "poll_url": f"{base_url}/v1/requests/{request_id}",
        "status_url": f"{base_url}/v2/requests/{request_id}/status",
        "response_url": f"{base_url}/v2/requests/{request_id}",
    }


def submitted_body(base_url: str, job: Job) -> dict[str, Any]:
    """Return the body of the response to a submit."""
    return {"request_id": job.request_id, "status": QUEUED} | urls(base_url, job.request_id)


def status_body(job: Job, now: float) -> dict[str, Any]:
    """Return the body of the status route, which never contains the output."""
    status = job.status(now)
    body: dict[str, Any] = {
        "request_id": job.request_id,
        "status": status,
        "metrics": job.metrics(now),
    }
    if status == FAILED:
        body["error"] = job.error()
    return body


def result_body(base_url: str, job: Job, now: float) -> dict[str, Any]:
    """Return the body of the result route: the status and, once COMPLETED, the output."""
    body = status_body(job, now)
    if body["status"] == COMPLETED:
        if not job.output_hidden:
            body |= output_fields(base_url, job)
        body |= job.extra
        if job.seed is not None:
            body["seed"] = job.seed
    return body


def output_fields(base_url: str, job: Job) -> dict[str, Any]:
    """Return the keys that describe the output. They vary with the model, as on the real gateway."""
    product = job.work.result()
    if product.content_type.startswith("text/"):
        text = product.data.decode()
        return {"output": _workflow_output(text=text) if job.workflow else text}
    if job.parameters.get("base64") is True:
        return {"output": base64.b64encode(product.data).decode()}
    url = f"{base_url}/outputs/{job.file_name()}"
    if job.workflow:
        prompt = job.parameters.get("prompt")
        texts = {"caption": f"echo: {prompt}"} if isinstance(prompt, str) else {}
        return {"output": _workflow_output(upscaled_image=url, **texts)}
    file = {
        "url": url,
        "content_type": product.content_type,
        "file_name": job.file_name(),
        "file_size": len(product.data),
    }
    kind = product.content_type.partition("/")[0]
    if kind in ("video", "audio"):
        return {"output": url, kind: file}
    return {"output": url, "images": [file]}


def _workflow_output(**values: str) -> str:
    return json.dumps([{"keyname": keyname, "value": value} for keyname, value in values.items()])
