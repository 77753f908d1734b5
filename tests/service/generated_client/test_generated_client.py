"""What a generator makes of our OpenAPI document works: every operation and model, nothing left out."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from service.app import create_app
from service.settings import Settings
from tests.service.api import Api

_HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment of its own: the generator wants older libraries than ours."""
    home = tmp_path_factory.mktemp("generator")
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(home)], check=True)
    asked = ["--require-hashes", "--requirements", str(_HERE / "requirements.txt")]
    subprocess.run([*uv, "pip", "install", "--python", str(home / "bin" / "python"), *asked], check=True)
    return home / "bin"


pytestmark = pytest.mark.slow


async def test_a_client_with_every_method_there_is_is_generated_without_a_warning(
    generator: Path, tmp_path: Path
) -> None:
    document = create_app(Settings(database_url="postgresql://nobody")).openapi()
    client = await generated(generator, tmp_path, json.dumps(document))
    methods = {name for name in document["components"]["schemas"] if name.startswith("Method_")}
    assert len(methods) > 40
    assert len(list((client / "models").glob("*.py"))) > len(methods)


async def test_a_generated_client_does_what_users_do(api: Api, generator: Path, tmp_path: Path) -> None:
    await generated(generator, tmp_path, (await api.http.get("/openapi.json")).text)
    talk = (str(_HERE / "conversation.py"), str(api.http.base_url), api.keys.user)
    said = json.loads(await run(generator, "python", *talk, PYTHONPATH=str(tmp_path)))
    assert said == {
        "queued": ["by a generated client", "queued", 60],
        "rank": 4,
        "checked": "Validated",
        "refused": [422, "The request has faults", ["/spec/optimizer/lr"]],
        "ended": ["cancelled", "cancelled"],
        "retry_of": True,
        "listed": True,
        "again": "queued",
        "events": ["state", "state"],
        "methods": [entry["name"] for entry in (await api.get("/v1/catalogue/methods"))["data"]],
    }


async def generated(generator: Path, folder: Path, document: str) -> Path:
    """The client's package; fails where the generator has anything to warn of."""
    written, client = folder / "openapi.json", folder / "pace_client"
    written.write_text(document)
    arguments = ["--path", str(written), "--output-path", str(client), "--meta", "none", "--fail-on-warning"]
    await run(generator, "openapi-python-client", "generate", *arguments)
    return client


async def run(programs: Path, name: str, *arguments: str, **more: str) -> str:
    """What the program prints; fails with what it says where it fails."""
    environment = {"PATH": f"{programs}:/usr/bin:/bin"} | more  # the generator formats with the ruff beside it
    process = await asyncio.create_subprocess_exec(
        str(programs / name),
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (out + err).decode()[-3000:]
    return out.decode()
