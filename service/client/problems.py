"""Refusals of the service as exceptions (RFC 9457 problem documents)."""

import httpx2
from pydantic import BaseModel, ValidationError

from pace_core.spec.errors import Fault


class ProblemError(RuntimeError):
    """A request was refused; `faults` holds every fault found, each with the pointer of its field."""

    def __init__(self, status: int, type: str, detail: str, faults: list[Fault]) -> None:
        self.status = status
        self.type = type
        self.detail = detail
        self.faults = faults
        super().__init__("\n".join([detail, *(f"  {fault}" for fault in faults)]))

    @property
    def code(self) -> str:
        """Last part of the problem's type, such as `lease-fenced`."""
        return self.type.rpartition("/")[2]


class LeaseFenced(ProblemError):
    """The attempt is no longer the job's current one: its run must stop and say nothing more."""


class ClusterTaken(ProblemError):
    """Another dispatcher serves the cluster."""

    dispatcher = ""
    """Which one."""


_KINDS: dict[str, type[ProblemError]] = {"lease-fenced": LeaseFenced, "cluster-taken": ClusterTaken}


class _Problem(BaseModel):
    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    errors: list[Fault] = []
    dispatcher: str = ""


def problem_of(response: httpx2.Response) -> ProblemError:
    """Returns the exception for a response that is not a success; its body must have been read."""
    try:
        problem = _Problem.model_validate_json(response.content)
    except ValidationError:  # something between us and the service answered
        problem = _Problem(detail=response.text[:500])
    kind = _KINDS.get(problem.type.rpartition("/")[2], ProblemError)
    request = f"{response.request.method} {response.request.url.path}"
    detail = problem.detail or problem.title or f"{request}: {response.status_code} {response.reason_phrase}"
    error = kind(response.status_code, problem.type, detail, problem.errors)
    if isinstance(error, ClusterTaken):
        error.dispatcher = problem.dispatcher
    return error
