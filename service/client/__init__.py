"""Python client of the service; needs neither torch, Ray nor a database."""

from service.client.address import NoService
from service.client.client import AsyncClient, Client
from service.client.models import Job, JobEvent, Progress
from service.client.problems import LeaseFenced, ProblemError

__all__ = ["AsyncClient", "Client", "Job", "JobEvent", "LeaseFenced", "NoService", "ProblemError", "Progress"]
