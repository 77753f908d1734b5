"""The two calls of dispatchers."""

from fastapi import APIRouter, Request

from pace_core.spec.leases import LeaseRequest, LeaseResponse, Report, ReportResponse
from service.keys.auth import Worker
from service.leases.claim import lease
from service.leases.reports import take_report

router = APIRouter(prefix="/v1/leases", tags=["workers"])


@router.post("", summary="Ask for work for the free slots")
async def post_lease(request: Request, body: LeaseRequest, caller: Worker) -> LeaseResponse:
    """Held open for `wait_s` while there is no work."""
    state = request.app.state
    return await lease(state.database, state.wakes, state.settings, caller, body)


@router.post("/{job}/{attempt}/reports", summary="Hand in an attempt's new events")
async def post_report(request: Request, job: str, attempt: int, body: Report, _: Worker) -> ReportResponse:
    """An empty report renews the lease. An attempt that is no longer current is answered `lease-fenced` (409)."""
    state = request.app.state
    return await take_report(state.database, state.settings.lease_s, job, attempt, body)
