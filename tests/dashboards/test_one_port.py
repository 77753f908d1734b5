"""Which paths are the API's."""

from dashboards.main import OnePort
from service.app import create_app
from service.settings import Settings


def test_every_path_of_the_api_goes_to_the_api() -> None:
    api, pages, mlflow = create_app(Settings(database_url="postgresql://nobody")), object(), object()
    port = OnePort(api, pages, mlflow)  # pyright: ignore[reportArgumentType]
    paths = [*api.openapi()["paths"], "/docs", "/redoc", "/openapi.json", "/static-offline-docs/swagger-ui.css"]
    for path in paths:
        assert port.whose({"type": "http", "path": path}) is api, path
    for path in ("/", "/jobs", "/sign-in", "/v1x", "", "*"):
        assert port.whose({"type": "http", "path": path}) is pages
    for path in ("/mlflow", "/mlflow/", "/mlflow/v1/x"):
        assert port.whose({"type": "http", "path": path}) is mlflow
