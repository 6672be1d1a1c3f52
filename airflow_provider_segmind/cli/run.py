"""``run``: a model on one picture, with the checks, the hook and the storage of the operators."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.cli.console import ERR, hook_for, report, whose
from airflow_provider_segmind.cli.main import UsageError
from airflow_provider_segmind.cli.parameters import options
from airflow_provider_segmind.cli.progress import deliver, uri_of, wait
from airflow_provider_segmind.exceptions import (
    SegmindError,
    SegmindEventError,
    SegmindRequestExpiredError,
    SegmindRequestFailedError,
)
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.protocol.data_uris import data_uri
from airflow_provider_segmind.protocol.models import MODELS, check_slug, format_for, request_body
from airflow_provider_segmind.protocol.urls import is_url
from airflow_provider_segmind.storage.inputs import InputImage, goes_inside, load_image
from airflow_provider_segmind.storage.names import fill, stem_of
from airflow_provider_segmind.storage.paths import object_path, probe

if TYPE_CHECKING:
    import argparse

    from airflow_provider_segmind.hooks.segmind import SegmindHook

_STAND_IN = "https://upload.invalid/"
#: Seconds within which a submit has to begin.
_SUBMIT_WITHIN = 600.0


@dataclass(frozen=True)
class Plan:
    """
    What is to be done, checked as far as that costs nothing.

    :param model: the slug.
    :param parameters: without the picture.
    :param picture: the picture, where it has to be sent; None for a URL, which Segmind fetches itself.
    :param image: that URL.
    :param destination: URI, with placeholders.
    :param stem: name of the input, for the output's name.
    """

    model: str
    parameters: dict[str, Any]
    input_image: InputImage | None = field(repr=False)
    image: str | None
    destination: str
    stem: str

    @property
    def transport(self) -> str:
        """How the picture goes, as the operators decide it."""
        return "data" if self.input_image and goes_inside(self.input_image, MODELS.get(self.model)) else "upload"

    def words(self) -> Iterator[str]:
        """Say it, a line each."""
        if self.input_image is not None:
            size = "{} x {} pixels".format(*self.input_image.size)
            shown = str(self.input_image.path).removeprefix("file://")
            yield f"picture      {shown} ({size}, {len(self.input_image.content)} bytes), by {self.transport}"
        elif self.image is not None:
            yield f"picture      {self.image}"
        named = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        yield f"model        {self.model}" + (f" with {named}" if named else "")
        yield f"result       {self.destination.removeprefix('file://')}"


def run(args: argparse.Namespace) -> None:
    """Run a model, wait and store."""
    plan = plan_of(args)
    with hook_for(args.conn_id) as hook:
        for line in (*plan.words(), f"billed by    {whose(hook)}"):
            report(line, to=ERR)
        with _at_interrupt("Whether Segmind took the request is not known: look at your requests in its console."):
            request_id = _submit(hook, plan)
        now = time.time()
        report(f"request      {request_id}", to=ERR)
        fetch = f"{args.program} request {request_id} -o {args.output or 'FILE'}"
        with _at_interrupt(f"Request {request_id} goes on, and is billed if it completes. Within an hour: {fetch}"):
            try:
                result = wait(hook, Watch(request_id, plan.model, submitted_at=now, deadline=now + args.timeout))
                size = plan.input_image.size if plan.input_image else None
                deliver(hook, result, plan.destination, stem=plan.stem, at_least=size if plan.model in MODELS else None)
            except (SegmindRequestFailedError, SegmindRequestExpiredError):
                raise
            except SegmindError:
                report(f"Its output is kept for an hour: {fetch}", to=ERR)
                raise


def _submit(hook: SegmindHook, plan: Plan) -> str:
    """Submit it as the operators do, without a memory, and return its request id: a lost response is searched for."""
    from airflow_provider_segmind.execution.engine import Engine
    from airflow_provider_segmind.execution.gateway import SegmindModel, SystemClock  # imports much of Airflow
    from airflow_provider_segmind.execution.single import Prepared, SingleRun, Submitted
    from airflow_provider_segmind.execution.store import TaskStateRecords
    from airflow_provider_segmind.execution.want import Rules

    body, upload, now = dict(plan.parameters), None, time.time()
    if plan.input_image is not None and plan.transport == "upload":
        upload = plan.input_image.content
    elif plan.input_image is not None:
        body["image"] = data_uri(plan.input_image.content)
    elif plan.image is not None:
        body["image"] = plan.image
    rules = Rules(plan.model, began_at=now)
    engine = Engine(SegmindModel(hook, plan.model), TaskStateRecords(None), SystemClock(), rules)
    want = Prepared(body, body, upload=upload).want(plan.model, hook.settings.gateway)
    found = SingleRun(engine, want, None).start(deadline=now + _SUBMIT_WITHIN)
    if not isinstance(found, Submitted):
        raise SegmindEventError("nothing was submitted")
    return found.request_id


def plan_of(args: argparse.Namespace) -> Plan:
    """
    Read what was typed, and the picture.

    :raises UsageError: an argument is missing, or does not go with the model.
    :raises SegmindConfigError: a parameter or the picture is wrong, or the result has no place to go.
    """
    model = check_slug(args.model)
    parameters = _parameters(args, model)
    image = parameters.pop("image", None)
    if args.input_image is None and image is None and model in MODELS:
        raise UsageError(f"{model} needs a picture: a file, an http(s) URL, or a URI such as s3://bucket/cat.jpg")
    if args.input_image is not None and image is not None:
        raise UsageError("give the picture either as PICTURE or as -p image=, not both")
    source = args.input_image if image is None else image
    if is_url(args.input_image):
        image = args.input_image
    if model in MODELS:
        body = request_body(model, {**parameters, "image": image or _STAND_IN})
        parameters = {name: value for name, value in body.items() if name != "image"}
    input_image = load_image(uri_of(args.input_image), None) if image is None and args.input_image is not None else None
    stem = stem_of(uri_of(source) if input_image else source, otherwise=model)
    destination = uri_of(args.output or f"{stem}-{model}.{{ext}}")
    probe(object_path(fill(destination, {"stem": stem, "model": model, "request_id": "request", "ext": "bin"}), None))
    return Plan(model, parameters, input_image, image, destination, stem)


def _parameters(args: argparse.Namespace, model: str) -> dict[str, Any]:
    """Return the parameters that were given, and the format that the output's name asks for."""
    given = {name: value for name in options() if (value := getattr(args, name)) is not None}
    for name in given:
        slug, parameter = options()[name]
        if slug != model:
            near = difflib.get_close_matches(model, MODELS, 1) if model not in MODELS else []
            hint = f" (did you mean {near[0]}?)" if near else "; parameters of other models go by -p NAME=VALUE"
            raise UsageError(f"{parameter.flag} is a parameter of {slug}, not of {model}{hint}")
    wanted = format_for(model, Path(args.output).suffix.lower()) if args.output else {}
    return {**wanted, **dict(args.parameters), **given}


@contextmanager
def _at_interrupt(words: str) -> Iterator[None]:
    """Say what stays behind when Ctrl-C is pressed."""
    try:
        yield
    except KeyboardInterrupt:
        report(words, to=ERR, style="yellow")
        raise
