"""An Airflow with previews on, users with passwords, and a bucket: what the tests of the plugin look at."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.api import ChaosApi
from tests.chaos.rig import Rig

USERS = {"admin": "admin", "viewer": "viewer", "nobody": ""}


class SignedIn(ChaosApi):
    """The API as one user sees it."""

    def __init__(self, url: str, user: str) -> None:
        super().__init__(url)
        self.user = user
        self.token = ""

    def sign_in(self) -> bool:
        try:
            answer = self._http.post("/auth/token", json={"username": self.user, "password": f"of-{self.user}"})
        except httpx.TransportError:
            return False
        if answer.status_code != 201:
            return False
        self.token = answer.json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {self.token}"
        return True

    def change_result(self, path: str, value: Any) -> None:
        """Write another XCom in a task's name, as whoever may write XComs can."""
        answer = self._http.patch(f"/api/v2/{path}/xcomEntries/return_value", json={"value": value, "map_index": -1})
        answer.raise_for_status()

    def links(self, run_id: str, task_id: str, map_index: int, dag_id: str = "shown") -> dict[str, str | None]:
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/links"
        found: dict[str, str | None] = self.get(path, map_index=map_index)["extra_links"]
        return found


@dataclass
class Site(Rig):
    """A rig with users, and with the plugin; use it as a context manager."""

    signed_in: dict[str, SignedIn] = field(default_factory=dict)

    def prepare(self) -> None:
        super().prepare()
        (self.path / "passwords.json").write_text(json.dumps({name: f"of-{name}" for name in USERS}))

    def new_api(self) -> ChaosApi:
        return SignedIn(self.url, "admin")

    def user(self, name: str) -> SignedIn:
        """The API as this user sees it, who signs in once."""
        if name not in self.signed_in:
            self.signed_in[name] = SignedIn(self.url, name)
            if not self.signed_in[name].sign_in():
                raise RuntimeError(f"{name} cannot sign in")
        return self.signed_in[name]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"CHAOS_PHOTOS": str(Path(__file__).parents[1] / "photos")}

    def _airflow_settings(self) -> dict[str, str]:
        return super()._airflow_settings() | {
            "AIRFLOW__CORE__AUTH_MANAGER": "tests.plugins.strict.StrictAuthManager",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.path / "passwords.json"),
            "AIRFLOW__SEGMIND__SERVE_PREVIEWS": "True",
        }
