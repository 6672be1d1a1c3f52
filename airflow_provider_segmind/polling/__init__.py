"""
Everything about waiting for a request.

- ``schedule.py``: when to poll, computed from what ``durations.py`` knows of the model. Pure.
- ``loop.py``: the poll loop, a generator that yields calls and pauses. Pure.
- ``drivers.py``: run the loop in a task process (``wait_for_request``) or on an event loop (``await_request``).
- ``limits.py``: what the polls and submits of one connection in one event loop share: the rate limiter
  (``rate_limiter.py``), the poll budget (``poll_budget.py``) and the number of concurrent calls.
- ``limit_file.py``: the rate limit as the other processes of this machine know it.
- ``shared_client.py``: the HTTP client that all polls of one connection in one event loop share.
- ``clock.py``: a clock that is not affected when the machine's clock is set.
"""
