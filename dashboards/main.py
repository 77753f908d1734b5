"""`python -m dashboards.main`: the API, the pages and MLflow's UI on one port. The one place that knows all three."""

import logging

from starlette.types import ASGIApp, Receive, Scope, Send

from dashboards.app import pages_app
from dashboards.mlflow import PREFIX, Mlflow
from dashboards.session import SignedIn
from service import log
from service.__main__ import serve
from service.app import create_app
from service.client.address import is_loopback
from service.settings import Settings

_API = frozenset(
    ("v1", "docs", "redoc", "openapi.json", "static-offline-docs", "healthz", "readyz", "metrics", "problems")
)
"""First parts of the paths that are the API's."""


class OnePort:
    """ASGI app that sends each request to the API, to MLflow or to the pages, by the first part of its path."""

    def __init__(self, api: ASGIApp, pages: ASGIApp, mlflow: ASGIApp) -> None:
        self._api = api
        self._pages = pages
        self._mlflow = mlflow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.whose(scope)(scope, receive, send)

    def whose(self, scope: Scope) -> ASGIApp:
        """Returns the app that answers the request."""
        if scope["type"] != "http":
            return self._api  # the start and the end are its own
        first = scope["path"].split("/")[1] if scope["path"].startswith("/") else ""
        return self._api if first in _API else self._mlflow if f"/{first}" == PREFIX else self._pages


def compose(api: ASGIApp, settings: Settings) -> OnePort:
    """Puts the pages and MLflow's UI beside the API.

    Only an MLflow of this machine is passed on: another one is reached by its own address, and asks for its own key.
    """
    pages = pages_app(api)
    url = settings.mlflow_url or ""
    own = url if is_loopback(url) or settings.share_mlflow else None
    pages.state.mlflow = own is not None
    mlflow = SignedIn(Mlflow(own), api, tokens=False)  # its pages know nothing of ours, so their origin must do
    return OnePort(api, pages, mlflow)


def main() -> None:
    """Serves all three, by the settings of the API."""
    settings = Settings()
    log.configure()
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # the API logs every request of the pages already
    api = create_app(settings)
    serve(compose(api, settings), api, settings)


if __name__ == "__main__":
    main()
