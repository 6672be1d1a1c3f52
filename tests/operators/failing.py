"""Tasks that fail at a chosen moment."""

from __future__ import annotations


def fails_once(error):
    """Return a ``post_execute`` that raises at its first call: the task fails although its ``execute`` returned."""
    calls = []

    def fail(context, result=None):
        calls.append(result)
        if len(calls) == 1:
            raise error("after everything was done")

    return fail
