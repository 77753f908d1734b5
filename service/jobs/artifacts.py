"""A job's files over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from service.db import Database
from service.jobs import files
from service.jobs.queries import find
from service.keys.auth import Reader
from service.problems import NotFound

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["artifacts"])

_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}},
    206: {"description": "A range of it"},
}


class Artifact(BaseModel):
    path: str
    """Within the job: the attempt's number, then the file's name."""
    bytes: int


@router.get("/artifacts", summary="A job's files")
async def list_artifacts(request: Request, caller: Reader, job_id: str) -> dict[str, list[Artifact]]:
    await _seen(request, caller, job_id)
    found = await files.list_files(request.app.state.settings.storage_root, job_id)
    return {"data": [Artifact(path=path, bytes=size) for path, size in found]}


@router.get("/artifacts/{path:path}", summary="Download a file", response_class=StreamingResponse, responses=_FILE)
async def download(
    request: Request, caller: Reader, job_id: str, path: str, range: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Sends the whole file or one range (`Range: bytes=0-1023`); the header `X-Checksum-Sha256` is the whole file's."""
    await _seen(request, caller, job_id)
    return await _send(request, job_id, path, range)


@router.get("/adapter", summary="Download the adapter", response_class=StreamingResponse, responses=_FILE)
async def adapter(
    request: Request, caller: Reader, job_id: str, range: Annotated[str | None, Header()] = None
) -> StreamingResponse:
    """Sends what the job trained: a safetensors file with its spec, labels and preprocessing inside."""
    result = await _seen(request, caller, job_id)
    saved: dict[str, Any] = (result or {}).get("adapter") or {}
    uri: str | None = saved.get("uri")
    folder = f"{request.app.state.settings.storage_root}/jobs/{job_id}/"
    if uri is None or not uri.removeprefix("file://").startswith(folder):
        raise NotFound(f"job {job_id} has left no adapter in this service's storage")
    return await _send(request, job_id, uri.removeprefix("file://").removeprefix(folder), range, saved.get("sha256"))


async def _seen(request: Request, caller: Reader, job_id: str) -> dict[str, Any] | None:
    database: Database = request.app.state.database
    async with database.transaction() as session:
        return (await find(session, job_id, caller)).result


async def _send(
    request: Request, job_id: str, path: str, range: str | None, known: str | None = None
) -> StreamingResponse:
    file = await files.open_file(request.app.state.settings.storage_root, job_id, path, known)
    part = file.part(range)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(part.stop - part.start),
        "Content-Disposition": f'attachment; filename="{job_id}-{path.replace("/", "-")}"',
        "X-Checksum-Sha256": file.sha256,
    }
    if range is None:
        return StreamingResponse(file.read(part), media_type="application/octet-stream", headers=headers)
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.size}"
    return StreamingResponse(file.read(part), 206, media_type="application/octet-stream", headers=headers)
