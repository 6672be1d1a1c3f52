"""An auth manager that keeps a DAG from somebody, which Airflow's simple one cannot."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

PRIVATE = ("private", "previews_private")


class StrictAuthManager(SimpleAuthManager):
    """The DAGs of ``PRIVATE`` are for the user ``admin`` alone."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **kwargs: Any) -> bool:
        if details is not None and details.id in PRIVATE and user.username != "admin":
            return False
        return super().is_authorized_dag(user=user, details=details, **kwargs)
