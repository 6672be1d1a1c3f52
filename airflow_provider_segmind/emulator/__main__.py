"""The command: ``python -m airflow_provider_segmind.emulator --port 8787``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from . import faults
from .settings import HOUR, Latency

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_EXAMPLES = """
examples of --faults (several, separated by commas):
  status:502@0.3            30 % of the polls return 502
  submit:drop_after#2       two submits are accepted, but their responses are lost
  submit:status_after:504   every submit is accepted, but returns 504
  submit:429;Retry-After=2  every submit returns 429 with this header
  submit:stuck%esrgan       requests to esrgan never end
"""
#: Help text for ``--faults``.
EPILOG = f"{faults.__doc__}\ngrammar of --faults: {faults.GRAMMAR}\n{_EXAMPLES}"


def _latency(text: str) -> str:
    try:
        Latency.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _faults(text: str) -> str:
    try:
        faults.parse_faults(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(
        prog="python -m airflow_provider_segmind.emulator",
        description="A stand-in for Segmind's gateway with real pixels. Loopback use only.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(command.add_argument)
    return command


def add_arguments(add: Callable[..., Any]) -> None:
    """Add the arguments with a function such as ``ArgumentParser.add_argument``."""
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8787, help="port; 0 selects a free one (default: %(default)s)")
    add("--public-url", help="base of the URLs in responses, if clients reach the emulator at another address")
    add("--api-key", help="accept this key, in addition to any key of the form SG_ + 16 hex digits")
    add("--latency", type=_latency, default="1.0",
        help="seconds from the submit to the end: 0.2, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA"
        " (default: %(default)s)")  # fmt: skip
    add("--queue-share", type=float, help="share of the latency spent QUEUED (default: 0.2)")
    add("--credits", type=float, help="initial balance (default: 100)")
    add("--free-credits", type=float, help="value of free-credits (default: 0)")
    add("--no-balance-record", action="store_true", help="reading the credits returns 404")
    add("--retention", type=float, default=HOUR, metavar="SECONDS",
        help="how long after its submit a request can be read (default: %(default)s)")  # fmt: skip
    add(
        "--history-delay",
        type=float,
        metavar="SECONDS",
        help="how long after its submit a request appears in the history",
    )
    add("--history-page", type=int, metavar="N", help="maximum number of rows in a page of the history")
    add("--history-rows", type=int, metavar="N", help="rows for each completed request in the history (default: 1)")
    add("--history-pending", action="store_true", help="completed requests stay PENDING in the history")
    add("--history-relative", action="store_true", help="output URLs in the history have no host")
    add("--team", action="store_true", help="all keys belong to one team: the history lists the requests of every key")
    add("--clock-skew", type=float, metavar="SECONDS",
        help="how far the emulator's clock is ahead of this machine's clock (default: 0)")  # fmt: skip
    add("--rate-limit", type=int, metavar="N", help="submits per key and window; further ones return 429")
    add("--rate-window", type=float, metavar="SECONDS", help="length of the window (default: 60)")
    add("--rate-limit-polls", action="store_true", help="count polls and result reads, too")
    add("--upload-key", choices=("file_urls", "urls"), help="the key of the upload's response")
    add("--model", action="append", dest="extra_models", metavar="SLUG", help="accept this model too")
    add("--faults", type=_faults, action="append", metavar="LIST", help="faults to inject; see below")
    add("--seed", type=int, help="seed of latencies and fault probabilities (default: 0)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C, and return 0."""
    command = parser()
    try:
        serve(command.parse_args(arguments))
    except ValueError as error:
        command.error(str(error))
    return 0


def serve(args: argparse.Namespace) -> None:
    """
    Serve until SIGTERM or Ctrl-C.

    :param args: the parsed arguments; names of other commands are ignored.
    :raises ValueError: the emulator cannot start with these arguments.
    """
    options = {name: getattr(args, name) for name in vars(parser().parse_args([]))}
    options["faults"] = ",".join(options["faults"] or [])
    options["balance_record"] = not options.pop("no_balance_record")
    try:
        from .server import Emulator

        emulator = Emulator(**options)
    except ImportError as error:
        raise ValueError(
            f"{error}; install the emulator with: pip install 'airflow-provider-segmind[emulator]'"
        ) from error
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        emulator.start()
    except OSError as error:
        raise ValueError(f"cannot listen on {options['host']}:{options['port']}: {error}") from error
    try:
        sys.stdout.write(
            f"Segmind emulator on {emulator.url} - "
            f"AIRFLOW_CONN_SEGMIND_DEFAULT='{emulator.connection_uri}' (stop: Ctrl-C)\n"
            f"Sample images: {', '.join(emulator.sample_urls)}\n"
        )
        sys.stdout.flush()
        stop.wait()
    finally:
        emulator.stop()


if __name__ == "__main__":
    sys.exit(main())
