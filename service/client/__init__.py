"""Python client of the service; needs neither torch, Ray nor a database."""

from service.client.address import NoService
from service.client.client import AsyncClient, Client
from service.client.jobs import DownloadError
from service.client.models import Job
from service.client.problems import ClusterTaken, LeaseFenced, ProblemError
from service.datasets.schemas import DatasetView
from service.events.schemas import LOGGED, log_line
from service.events.schemas import EventView as JobEvent
from service.jobs.schemas import JobRequest, RecipeChoice
from service.leaderboards.schemas import Leaderboard
from service.leaderboards.schemas import RowView as BoardRow
from service.studies.report_schemas import StudyReport
from service.studies.schemas import Dimension, StudyExtension, StudyRequest, StudyView, TrialView
from service.suites.schemas import SuiteExtension, SuitePlan, SuiteRequest, SuiteRow, SuiteTable, SuiteView

__all__ = [
    "LOGGED",
    "AsyncClient",
    "BoardRow",
    "Client",
    "ClusterTaken",
    "DatasetView",
    "Dimension",
    "DownloadError",
    "Job",
    "JobEvent",
    "JobRequest",
    "Leaderboard",
    "LeaseFenced",
    "NoService",
    "ProblemError",
    "RecipeChoice",
    "StudyExtension",
    "StudyReport",
    "StudyRequest",
    "StudyView",
    "SuiteExtension",
    "SuitePlan",
    "SuiteRequest",
    "SuiteRow",
    "SuiteTable",
    "SuiteView",
    "TrialView",
    "log_line",
]
