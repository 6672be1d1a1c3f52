"""``run``: a model on one image, with the checks, the hook and the storage of the operators."""

from __future__ import annotations

import difflib
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.cli.console import ERR, account_of, open_hook, report
from airflow_provider_segmind.cli.main import UsageError
from airflow_provider_segmind.cli.parameters import options
from airflow_provider_segmind.cli.progress import deliver, uri_of, wait
from airflow_provider_segmind.exceptions import (
    SegmindError,
    SegmindRequestExpiredError,
    SegmindRequestFailedError,
    SegmindUnknownModelError,
)
from airflow_provider_segmind.execution.arguments import check_compared
from airflow_provider_segmind.execution.input_source import content_of_image
from airflow_provider_segmind.execution.options import StorageOptions
from airflow_provider_segmind.lineage import urls_in
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.protocol.data_uris import data_uri
from airflow_provider_segmind.protocol.formats import requested_extension, with_format
from airflow_provider_segmind.protocol.models import (
    MODELS,
    PENDING_IMAGE,
    check_slug,
    request_body,
)
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.protocol.urls import is_url
from airflow_provider_segmind.storage.expected import Expected
from airflow_provider_segmind.storage.inputs import InputImage, goes_inside, load_image
from airflow_provider_segmind.storage.names import fill, stem_of
from airflow_provider_segmind.storage.paths import probe
from airflow_provider_segmind.storage.target import Target
from airflow_provider_segmind.storage.verification import data_uri_size

if TYPE_CHECKING:
    import argparse

    from airflow_provider_segmind.hooks.segmind import SegmindHook

_IMAGE_KINDS = "a file, an http(s) URL, or a URI such as s3://bucket/cat.jpg"
_KEEPS_INPUT = "Nothing was submitted. Give another -o; or --overwrite-input to replace the image by its output."
#: Seconds within which a submit has to begin.
_SUBMIT_WITHIN = 600.0


@dataclass(frozen=True)
class Plan:
    """
    What a run will do, validated as far as that is free.

    :param model: the slug.
    :param parameters: the parameters without the image.
    :param input_image: the image, if it has to be sent; None for a URL, which Segmind fetches itself.
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
        """How the image is sent: inside the request (data) or by the upload call, as the operators decide it."""
        return "data" if self.input_image and goes_inside(self.input_image, MODELS.get(self.model)) else "upload"

    @property
    def output(self) -> str:
        """Where the output will be stored, as text; what only Segmind decides is in capitals."""
        uri = self.destination + ("{stem}.{ext}" if self.destination.endswith("/") else "")
        extension = (requested_extension(self.parameters) or "")[1:]
        names = {"stem": self.stem, "model": self.model, "request_id": "REQUEST-ID", "ext": extension or "EXTENSION"}
        text = fill(uri, names).removeprefix("file://")
        unknown = "{ext}" in uri and not extension
        return f"{text} (EXTENSION: the format of the output, for example png)" if unknown else text

    def lines(self) -> Iterator[str]:
        """Yield what the run will do, one line each."""
        if self.input_image is not None:
            size = "{} x {} pixels".format(*self.input_image.size)
            shown = str(self.input_image.path).removeprefix("file://")
            yield f"image        {shown} ({size}, {len(self.input_image.content)} bytes), by {self.transport}"
        elif self.image is not None:
            yield f"image        {redacted(self.image)}"
        named = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        yield f"model        {self.model}" + (f" with {named}" if named else "")
        yield f"output       {self.output}"


def run(args: argparse.Namespace) -> None:
    """Run a model, wait, and store the output."""
    plan = plan_of(args)
    with open_hook(args.conn_id) as hook:
        for line in (*plan.lines(), f"billed by    {account_of(hook)}"):
            report(line, to=ERR)
        with _at_interrupt(
            "It is not known whether Segmind accepted the request. Check your account's request history before you run "
            "this again: a second run is billed again."
        ):
            request_id = _submit(hook, plan)
        now = time.time()
        report(f"request      {request_id}", to=ERR)
        fetch = _fetch_command(args, request_id)
        with _at_interrupt(
            f"Request {request_id} continues at Segmind, which has no cancel call, and is billed if it completes. "
            f"Fetch its output: {fetch}"
        ):
            try:
                result = wait(hook, Watch(request_id, plan.model, submitted_at=now, deadline=now + args.timeout))
                expected = _expected(hook, plan, args)
                deliver(hook, result, plan.destination, stem=plan.stem, expected=expected, as_json=args.json)
            except (SegmindRequestFailedError, SegmindRequestExpiredError):
                raise
            except SegmindError as error:
                report(f"Fetch the output of this request without a second bill: {fetch}", to=ERR)
                if "verify=" in error.next_step:  # an argument of the operators
                    error.next_step = "The request was billed. With --verify off the command above stores its output."
                raise


def _expected(hook: SegmindHook, plan: Plan, args: argparse.Namespace) -> Expected:
    """Return what the output has to be."""
    storage = StorageOptions(verify=args.verify, keep_metadata=args.keep_metadata)
    sent = plan.input_image
    return Expected.of(
        plan.model,
        plan.parameters,
        verify=storage.verify,
        keep_metadata=storage.keep_metadata,
        input_size=sent.size if sent and plan.model in MODELS else data_uri_size(plan.model, plan.image, whole=False),
        input_name=str(sent.path if sent else redacted(plan.image)),
        read_input=lambda: sent.content if sent else content_of_image(hook, plan.image, storage),
    )


def _fetch_command(args: argparse.Namespace, request_id: str) -> str:
    """Return the command that fetches the output of a request."""
    connection = ["--conn-id", args.conn_id] if args.conn_id else []
    options_given = shlex.join(["request", request_id, "-o", args.output or "FILE", *connection])
    return f"{args.program} {options_given}"


def _submit(hook: SegmindHook, plan: Plan) -> str:
    """Submit as the operators do, without a ledger, and return the request id; an unknown outcome is resolved."""
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
    try:
        found = SingleRun(engine, want, None).start(deadline=now + _SUBMIT_WITHIN)
    except SegmindUnknownModelError as error:
        if near := _near(plan.model):
            error.next_step = f"Did you mean {near}? Nothing is billed."
        raise
    if not isinstance(found, Submitted):
        raise SegmindError(
            "the run ended without a request id",
            next_step="Check your account's request history before you run this again.",
        )
    return found.request_id


def plan_of(args: argparse.Namespace) -> Plan:
    """
    Return what a run will do, from its arguments and the image.

    :raises UsageError: an argument is missing, or does not fit the model.
    :raises SegmindConfigError: a parameter or the image is wrong, or the output cannot be stored.
    """
    model = check_slug(args.model)
    check_compared(model, StorageOptions(verify=args.verify, keep_metadata=args.keep_metadata))
    parameters = _parameters(args, model)
    image = parameters.pop("image", None)
    if args.image is None and image is None and model in MODELS:
        raise UsageError(f"{model} needs an image: {_IMAGE_KINDS}")
    if args.image is not None and image is not None:
        raise UsageError("the image is given twice: give it either as IMAGE or as -p image=URL")
    source = args.image if image is None else image
    if is_url(args.image):
        image = args.image
    elif args.image is not None:
        _check_path("IMAGE", args.image, is_folder_allowed=False)
    elif model in MODELS and isinstance(image, str) and Path(image[:255]).expanduser().exists():
        raise UsageError(f"-p image= takes a URL, not a file: give {image} as IMAGE, after the model")
    if args.output:
        _check_path("-o", args.output, is_folder_allowed=True)
    is_sent = image is None and args.image is not None
    stem = stem_of(uri_of(source) if is_sent else source, otherwise=model)
    target = Target(uri_of(args.output or f"{stem}-{model}.{{ext}}"), None, model, {"stem": stem, "model": model})
    parameters = with_format(model, parameters, target.uri(ext="_"))
    if model in MODELS:
        body = request_body(model, {**parameters, "image": image or PENDING_IMAGE})
        parameters = {name: value for name, value in body.items() if name != "image"}
        image = image and body["image"]
        data_uri_size(model, image)
    input_image = load_image(uri_of(args.image), None) if is_sent else None
    plan = Plan(model, parameters, input_image, image, target.destination, stem)
    _check_target(target, plan, overwrite_input=args.overwrite_input)
    return plan


def _check_target(target: Target, plan: Plan, *, overwrite_input: bool) -> None:
    """Raise SegmindConfigError if the output cannot be stored, or would replace the image without consent."""
    if not overwrite_input:
        images = [plan.input_image.path] if plan.input_image else urls_in({**plan.parameters, "image": plan.image})
        target.check_not_input(plan.stem, requested_extension(plan.parameters), images, next_step=_KEEPS_INPUT)
    target.check_names(plan.stem)
    probe(target.path() / plan.stem if target.is_folder else target.path())


def _check_path(argument: str, path: str, *, is_folder_allowed: bool) -> None:
    """
    Raise UsageError for a path that means something else than it seems to.

    :param argument: the argument that has the path.
    :param path: a path or a URI.
    :param is_folder_allowed: whether it may be a folder.
    """
    scheme, colon, rest = path.partition(":")
    if colon and scheme == "file" and not rest.startswith("///"):
        meant = Path(rest.lstrip("/")).absolute()
        raise UsageError(f"{argument}: {path} is not an absolute URI of a file: write file://{meant}")
    if not is_folder_allowed and "://" not in path and Path(path).expanduser().is_dir():
        raise UsageError(
            f"{argument}: {path} is a folder, and a run takes one image: run the command once for each file, "
            "or use SegmindBatchOperator in a DAG"
        )


def _near(model: str) -> str | None:
    """Return the slug in the table of models that a misspelled one probably means."""
    return next(iter(difflib.get_close_matches(model, MODELS, 1)), None) if model not in MODELS else None


def _parameters(args: argparse.Namespace, model: str) -> dict[str, Any]:
    """Return the parameters that were given."""
    given = {name: value for name in options() if (value := getattr(args, name)) is not None}
    for name in given:
        slug, parameter = options()[name]
        if slug != model:
            near = _near(model)
            hint = f" (did you mean {near}?)" if near else "; give parameters of other models with -p NAME=VALUE"
            raise UsageError(f"{parameter.flag} is a parameter of {slug}, not of {model}{hint}")
    return {**dict(args.parameters), **given}


@contextmanager
def _at_interrupt(text: str) -> Iterator[None]:
    """Report what Ctrl-C does not stop."""
    try:
        yield
    except KeyboardInterrupt:
        report(text, to=ERR, style="yellow")
        raise
