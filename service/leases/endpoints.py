"""The two calls of dispatchers."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request

from pace_core.spec.leases import PROTOCOL, LeaseRequest, LeaseResponse, Report, ReportResponse
from service.keys.auth import Worker, cluster_of
from service.leases.claim import lease
from service.leases.reports import take_report
from service.problems import WrongProtocol

router = APIRouter(prefix="/v1/leases", tags=["workers"])

_Job = Annotated[str, Path(max_length=100)]
_Attempt = Annotated[int, Path(ge=1, lt=2**31)]


async def _same_protocol(request: Request) -> None:
    """Looks at the number alone: of another protocol the rest may be anything."""
    try:
        body: Any = await request.json()
    except ValueError:  # nothing, or no JSON: the body itself is refused
        return
    theirs = body.get("protocol", PROTOCOL) if isinstance(body, dict) else PROTOCOL  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(theirs, int) and theirs != PROTOCOL:
        older = "service" if theirs > PROTOCOL else "worker"
        raise WrongProtocol(
            f"the worker speaks protocol {theirs}, this service {PROTOCOL}: update the {older}. "
            "What runs already goes on and can still be reported.",
            protocol=PROTOCOL,
        )


@router.post("", summary="Ask for work for the free slots")
async def post_lease(
    request: Request, caller: Worker, _: Annotated[None, Depends(_same_protocol)], body: LeaseRequest
) -> LeaseResponse:
    """Gives work to a cluster, whose worker must speak this protocol. Held open for `wait_s` while there is none."""
    state = request.app.state
    return await lease(state.database, state.wakes, state.settings, caller, body, request.is_disconnected)


@router.post("/{job}/{attempt}/reports", summary="Hand in an attempt's new events")
async def post_report(request: Request, job: _Job, attempt: _Attempt, body: Report, caller: Worker) -> ReportResponse:
    """Takes a report of an attempt. An empty one renews the lease.

    `lease-fenced` (409) answers an attempt that is no longer current, and whoever does not hold it: a report shows the
    token that came with the lease, by a key of the cluster that got it.
    """
    state = request.app.state
    return await take_report(state.database, state.settings, cluster_of(caller), job, attempt, body)
