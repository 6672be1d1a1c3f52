"""An API server with users, as each of them sees it, for the tests of previews."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import httpx

from demo.api import Api
from tests.chaos.api import ChaosApi
from tests.shared_airflow import Server, SharedAirflow


class SignedIn(ChaosApi):
    """The API as one user sees it."""

    def __init__(self, url: str, user: str) -> None:
        super().__init__(url)
        self.user = user
        self.token = ""

    def sign_in(self) -> bool:
        try:
            response = self.post("/auth/token", {"username": self.user, "password": f"of-{self.user}"})
        except httpx.TransportError:
            return False
        if response.status_code != 201:
            return False
        self.token = response.json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {self.token}"
        return True

    def change_result(self, path: str, value: Any) -> None:
        """Replace the result of a task, as a user who may write XComs can."""
        body = {"value": value, "map_index": -1}
        self.request("PATCH", f"/api/v2/{path}/xcomEntries/return_value", json=body).raise_for_status()


class Site:
    """
    One server, and its users.

    :param airflow: has the runs.
    :param server: a server with users.
    """

    def __init__(self, airflow: SharedAirflow, server: Server) -> None:
        self.airflow, self.url = airflow, server.url
        self.out = airflow.out / "previews"
        self._log = airflow.path / f"{server.name}.log"
        self._signed_in: dict[str, SignedIn] = {}

    @property
    def api(self) -> SignedIn:
        """The API as ``admin`` sees it."""
        return self.user("admin")

    def user(self, name: str) -> SignedIn:
        """The API as this user sees it, who signs in once."""
        if name not in self._signed_in:
            api = SignedIn(self.url, name)
            self.airflow.wait(f"{name} is signed in", api.sign_in, seconds=60)
            self._signed_in[name] = api
        return self._signed_in[name]

    def log(self) -> str:
        """Return the log of the server."""
        return self._log.read_text(errors="replace")

    def preview(self, user: str | None, headers: dict[str, str] | None, query: dict[str, Any]) -> httpx.Response:
        """Request a preview with the cookie, as the images of the page do."""
        cookies = {"_token": self.user(user).token} if user else {}
        with closing(Api(self.url, cookies)) as client:
            return client.request("GET", "/segmind/preview", params=query, headers=headers)

    def close(self) -> None:
        """Close the connections."""
        for api in self._signed_in.values():
            api.close()
