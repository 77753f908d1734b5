"""MLflow's UI under `/mlflow`, for whoever is signed in: MLflow itself asks nobody for a key.

Its pages ask for everything by relative addresses, so that it needs no setting to live there. It is asked under its own
address, whatever name a browser knows this machine by, so that its check of host names holds and refuses nobody.
"""

import httpx2
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from dashboards.assets import address
from dashboards.rendering import render

PREFIX = "/mlflow"
_OURS = "mlflow.js"
"""Script that its page runs first."""
# what is ours, of this connection alone, or what MLflow would refuse as coming from elsewhere
_KEPT_BACK = {"host", "cookie", "authorization", "origin", "referer", "connection", "accept-encoding"}
_NOT_PASSED_ON = {"connection", "transfer-encoding", "set-cookie", "access-control-allow-origin"}


class Mlflow:
    """Passes requests on to the MLflow server at `url`; says so where there is none or it is still starting."""

    def __init__(self, url: str | None) -> None:
        self._url = (url or "").rstrip("/")
        self._http = httpx2.AsyncClient(timeout=httpx2.Timeout(120.0, connect=5.0), trust_env=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = await self._answer(request)
        await answer(scope, receive, send)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _answer(self, request: Request) -> Response:
        path = request.url.path.removeprefix(PREFIX)
        if not path:
            return RedirectResponse(f"{PREFIX}/")  # its relative addresses need the slash
        if not self._url:
            return _none(request, "This service was started without MLflow.")
        raw = request.scope.get("raw_path", path.encode()).decode("ascii").partition("?")[0].removeprefix(PREFIX)
        target = f"{self._url}{raw}" + (f"?{request.url.query}" if request.url.query else "")
        headers = [(name, value) for name, value in request.headers.items() if name not in _KEPT_BACK]
        body = None if request.method in ("GET", "HEAD") else request.stream()
        try:
            answer = await self._http.send(
                self._http.build_request(request.method, target, headers=headers, content=body), stream=True
            )
        except httpx2.TransportError:
            return _none(request, "It starts last and takes up to a minute; this page looks again by itself.")
        kept = {name: value for name, value in answer.headers.items() if name not in _NOT_PASSED_ON}
        if answer.headers.get("content-type", "").startswith("text/html") and not path.strip("/"):
            page = (await answer.aread()).replace(b"<head>", f'<head><script src="{address(_OURS)}"></script>'.encode())
            await answer.aclose()
            return Response(page, answer.status_code, {"Cache-Control": "no-cache"}, "text/html")
        return StreamingResponse(
            answer.aiter_raw(), answer.status_code, headers=kept, background=BackgroundTask(answer.aclose)
        )


def _none(request: Request, detail: str) -> Response:
    answer = render(request, "error.html", status=503, title="MLflow does not answer", detail=detail)
    answer.headers["Refresh"] = "5"
    return answer
