"""An auth manager that hides a DAG from some users, which Airflow's simple one cannot."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

PRIVATE = ("private", "previews_private")


class StrictAuthManager(SimpleAuthManager):
    """Allow the DAGs of ``PRIVATE`` to the user ``admin`` only."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **kwargs: Any) -> bool:
        if details is not None and details.id in PRIVATE and user.username != "admin":
            return False
        return super().is_authorized_dag(user=user, details=details, **kwargs)
