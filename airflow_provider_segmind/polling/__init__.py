"""Everything about waiting for a request: when to poll, the poll loop, its drivers, the rate limiter."""
