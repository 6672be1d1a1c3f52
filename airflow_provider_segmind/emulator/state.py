"""The state of the emulator: its clock, jobs, balance and counters.

One thread serves calls and another runs the test, so every change holds one lock.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import struct
import threading
import uuid
from collections import defaultdict
from concurrent.futures import wait
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING, Any

from .catalogue import Catalogue, Model, RefusedError, moderation, plan
from .jobs import Job
from .pixels import PixelPool, Product, done, failed
from .records import ModelStats, RecordedRequest, Stats
from .settings import Latency, Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .clock import Clock
    from .faults import Fault, Faults

_KEY_SHAPE = re.compile(r"SG_[0-9A-Fa-f]{16}")
_TINY_VIDEO = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
#: A tenth of a second of silence: 8,000 samples a second of one byte each.
_TINY_SOUND = (
    b"RIFF"
    + struct.pack("<I", 36 + 800)
    + b"WAVEfmt "
    + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    + b"data"
    + struct.pack("<I", 800)
    + b"\x80" * 800
)


class State:
    """The state between two resets."""

    def __init__(self, settings: Settings, clock: Clock, pixels: PixelPool, faults: Faults) -> None:
        self.settings = settings
        self.clock = clock
        self.faults = faults
        self.base_url = ""
        self.catalogue = Catalogue(settings.extra_models)
        self.jobs: dict[str, Job] = {}
        self.files: dict[str, Product] = {}
        self.balance = settings.credits
        self.lock = threading.RLock()
        self._pixels = pixels
        self._open: dict[str, Job] = {}
        self._reserved = 0.0
        self._counts: dict[str, int] = defaultdict(int)
        self._model_counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(int))
        self._windows: dict[str, tuple[float, int]] = {}
        self._latency = Latency.parse(settings.latency)
        self._rng = random.Random(settings.seed)  # noqa: S311 - repeatable, not secret

    # --- keys and rate limit ---

    def authenticate(self, key: str | None) -> str:
        """Return the owner of a key, or refuse the call with 401."""
        if not key:
            raise RefusedError(401, "Missing Authorization or x-api-key in header")
        if key != self.settings.api_key and not _KEY_SHAPE.fullmatch(key):
            raise RefusedError(401, "Unauthorized. API key is invalid or has been revoked")
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    def limit_rate(self, owner: str) -> None:
        """Count one call of this owner, or refuse it with 429 and the time at which the window ends."""
        limit = self.settings.rate_limit
        if limit is None:
            return
        with self.lock:
            now = self.clock.now()
            start, used = self._windows.get(owner, (now, 0))
            if now >= start + self.settings.rate_window:
                start, used = now, 0
            if used < limit:
                self._windows[owner] = (start, used + 1)
                return
            self._counts["rate_limited"] += 1
            reset = ceil(self.clock.outside(start + self.settings.rate_window))
        stamp = datetime.fromtimestamp(reset, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise RefusedError(429, "Rate limit exceeded", {"x-rate-limit-reset-at-utc": stamp})

    def count(self, counter: str, model: str | None = None, by: int = 1) -> None:
        """Increase a counter and, if a model is given, the counter of this model."""
        with self.lock:
            self._counts[counter] += by
            if model is not None:
                self._model_counts[model][counter] += by

    # --- jobs ---

    def submit(
        self,
        model: Model,
        body: dict[str, Any],
        owner: str,
        *,
        fault: Fault | None = None,
        workflow: bool = False,
        user_agent: str = "",
    ) -> Job:
        """Accept a request and return its job, or refuse it. An accepted request is billed when it completes."""
        values = model.read(body)
        with self.lock:
            if self._available() < model.cost:
                self.finish_due_jobs()  # a failed job releases the credits that it reserved
            if self._available() < model.cost:
                raise RefusedError(406, "Insufficient credits to process this request")
            self._reserved += model.cost
            now, latency = self.clock.now(), self._latency.draw(self._rng)
            job = Job(
                request_id=str(uuid.uuid4()),
                model=model,
                parameters=body,
                owner=owner,
                submitted_at=now,
                starts_at=now + latency * self.settings.queue_share,
                ends_at=now + latency,
                work=self._begin(model, values, fault),
                workflow=workflow,
                seed=self._rng.randrange(2**31) if len(self.jobs) % 2 else None,
                user_agent=user_agent,
            )
            if len(self.jobs) % 3 == 2:  # the real gateway sometimes sends such keys
                job.extra["timings"] = {"inference": round(latency * (1 - self.settings.queue_share), 3)}
            if fault is not None:
                job.apply_fault(fault)
            self.jobs[job.request_id] = self._open[job.request_id] = job
            self.count("submits_accepted", model.slug)
        return job

    def _begin(self, model: Model, values: dict[str, Any], fault: Fault | None) -> Future[Product]:
        if fault is not None and fault.kind == "fail":
            return failed(fault.argument or "Inference failed")
        blocked = moderation(model, values)
        if blocked is not None:
            return failed(blocked)
        work = plan(model, values)
        if work is not None:
            if fault is not None and fault.kind == "wrong_image":
                work = replace(work, defect=fault.argument)
            return self._pixels.start(work, self.settings.fetch_timeout)
        if model.makes == "video":
            return done(Product(_TINY_VIDEO, "video/mp4", "mp4"))
        if model.makes == "audio":
            return done(Product(_TINY_SOUND, "audio/wav", "wav"))
        text = values.get("prompt")
        text = text if isinstance(text, str) else json.dumps(values, sort_keys=True)
        return done(Product(f"echo: {text}".encode(), "text/plain", "txt"))

    def _available(self) -> float:
        """Return the credits that are not reserved for running jobs. Rounded, because sums of fractions drift."""
        return round(self.balance - self._reserved, 6)

    def finish_due_jobs(self) -> None:
        """Finish the jobs that have ended since the last call."""
        with self.lock:
            now = self.clock.now()
            for job in [job for job in self._open.values() if job.is_over(now)]:
                self._finish(job)

    def _finish(self, job: Job) -> None:
        """Finish a job: bill it, or release the credits reserved for it. Failed work is not billed."""
        if self._open.pop(job.request_id, None) is None:
            return
        self._reserved -= job.model.cost
        job.finished = True
        if job.error() is None:
            self.balance = round(self.balance - job.model.cost, 6)
            job.billed, job.remaining_credits = True, self.balance
            self.count("billed", job.model.slug)
            self._model_counts[job.model.slug]["credits_spent"] += job.model.cost

    def wait_for_pixels(self, timeout: float = 20.0) -> None:
        """Wait until the pixel work of every due job is done. Must not run in the server's thread."""
        with self.lock:
            now = self.clock.now()
            due = [job.work for job in self._open.values() if now >= job.ends_at]
        wait(due, timeout)

    def find(self, request_id: str, owner: str) -> Job:
        """Return a job that can still be read, or refuse it with 404. In a team, only the owner reads it."""
        with self.lock:
            job = self.jobs.get(request_id)
            foreign = job is not None and self.settings.team and job.owner != owner
            if job is None or foreign or self.clock.now() >= job.submitted_at + self.settings.retention:
                raise RefusedError(404, "Request not found or expired")
            if job.is_over(self.clock.now()):
                self._finish(job)
            return job

    def output(self, name: str) -> Product:
        """Return the output file of a job, which outlives its request, or refuse it with 404."""
        with self.lock:
            job = self.jobs.get(name.rpartition(".")[0])
            now = self.clock.now()
            if job is not None and job.is_over(now):
                self._finish(job)
            if job is None or not job.billed or job.file_name() != name:
                raise RefusedError(404, "File not found")
            if now >= job.ends_at + self.settings.output_retention:
                raise RefusedError(404, "File not found")
            return job.work.result()

    def keep_file(self, product: Product, name: str | None = None) -> str:
        """Store a file and return its URL."""
        name = f"{uuid.uuid4()}.{product.extension}" if name is None else f"{uuid.uuid4().hex[:12]}-{name}"
        with self.lock:
            self.files[name] = product
        return f"{self.base_url}/assets/{name}"

    # --- what tests read ---

    def stats(self) -> Stats:
        """Return the counters now."""
        with self.lock:
            self.finish_due_jobs()
            models = {slug: ModelStats.of(counts) for slug, counts in self._model_counts.items()}
            names = Stats.__dataclass_fields__.keys() & self._counts.keys()
            return Stats(
                **{name: self._counts[name] for name in names},
                credits_spent=round(sum(model.credits_spent for model in models.values()), 6),
                remaining_credits=self.balance,
                by_model=models,
            )

    def requests(self) -> list[RecordedRequest]:
        """Return the accepted requests, oldest first."""
        with self.lock:
            self.finish_due_jobs()
            now = self.clock.now()
            return [
                RecordedRequest(
                    request_id=job.request_id,
                    model=job.model.slug,
                    parameters=dict(job.parameters),
                    status=job.status(now),
                    polls=job.polls,
                    results=job.results,
                    billed=job.billed,
                    submitted_at=job.submitted_at,
                    user_agent=job.user_agent,
                )
                for job in self.jobs.values()
            ]
