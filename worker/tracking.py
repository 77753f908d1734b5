"""The tracking process: MLflow as a projection of the service's events.

Only the cursor decides what MLflow has, and it moves after MLflow accepted. So MLflow may be slow, down or emptied
without a job noticing, and everything may be sent twice.
"""

import importlib
import logging
import os
import signal
import socket
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from itertools import groupby

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pace_core.spec import State
from pace_core.spec.leases import Heartbeat
from service.client import Client, Job, JobEvent, NoService, ProblemError, StudyRequest, SuiteView
from worker.mlflow_runs import Runs, missing, refused
from worker.mlflow_upkeep import Upkeep
from worker.settings import Settings

CURSOR = "mlflow"
WAIT_S = 2.0
"""So long the service is asked to wait for events; also how soon this process ends that is told to."""
AWAY_S = 3.0
GATHER_S = 1.0
"""So long events are left to gather after a page: running jobs say something all the time, and each page costs four
requests."""
BEAT_S = 5.0
HOLD_S = 30.0
STUMBLES = 5
"""So often MLflow may fail at one job before the job is passed over, if it answers otherwise."""
PAGE = 1000
STUDIES_EVERY_S = 5.0

log = logging.getLogger(__name__)


class Tracking:
    """The tracking: it reads events from the cursor on and writes them to MLflow, page by page.

    `pages` is the address under which people see MLflow, for the links that jobs carry; `me` the name by which the
    process holds the cursor.
    """

    def __init__(self, client: Client, mlflow: MlflowClient, pages: str, me: str) -> None:
        self._client = client
        self._me = me
        self._pages = pages.rstrip("/")
        self._runs = Runs(mlflow)
        self.position = 0
        """Position of the last event that MLflow has."""
        self._jobs: dict[str, Job] = {}
        self.trouble = ""
        """Why the last step failed; empty where it did not."""
        self.passed_over: dict[str, str] = {}
        """Job → why something that it said is not in MLflow."""
        self._stumbles: Counter[str] = Counter()
        self._studies_at = 0.0
        """When to ask for studies again, which have no events of their own."""
        self._suites: set[str] = set()
        """Those that have their view since this process began, or since MLflow was emptied."""

    def step(self, wait_s: float = 0.0) -> int:
        """Writes one page, for which it waits so long; how many events were on it.

        Raises MlflowException while MLflow is away; nothing is lost then.
        """
        position = self._client.worker.cursor(CURSOR)
        if position < self.position or (self.position == 0 and position > 0 and not self._runs.any()):
            # told to start again; or started, and MLflow has nothing of what the cursor says it has
            position = 0
            self._client.worker.set_cursor(CURSOR, 0, self._me)
            self._runs.forget()
            self._suites.clear()
        self.position = position
        events = self._client.worker.events(position, PAGE, wait_s)
        for job_id, of_job in groupby(sorted(events, key=lambda event: event.job), key=lambda event: event.job):
            self._write(job_id, list(of_job))
        if events and self._client.worker.cursor(CURSOR) == position:  # else a rebuild was asked for meanwhile
            self._client.worker.set_cursor(CURSOR, events[-1].position, self._me)
            self.position = events[-1].position
        if time.monotonic() > self._studies_at:
            self._write_studies()
            self._studies_at = time.monotonic() + STUDIES_EVERY_S
        return len(events)

    def _write_studies(self) -> None:
        """Writes the studies that have ended since, with their pictures."""
        for study in self._client.studies.untracked():
            files = importlib.import_module("worker.study_pictures").files  # what draws is loaded where there is need
            try:
                report = self._client.studies.report(study.id)
                place = self._runs.write_study(study, report, files(report, StudyRequest.model_validate(study.request)))
                self._client.studies.set_tracking(study.id, f"{self._pages}/{place}")
            except (NoService, ProblemError, MemoryError, OSError):
                raise
            except Exception as error:  # something in this study, which another try does not mend
                if isinstance(error, MlflowException) and not refused(error):
                    raise
                self._pass_over(study.id, error)
                self._client.studies.set_tracking(study.id, self._pages)

    def _write(self, job_id: str, events: list[JobEvent]) -> None:
        try:
            job = self._job(job_id, events)
            place = self._runs.write(job, events)
            url = f"{self._pages}/{place}"
            if place and job.mlflow_url != url:
                self._client.worker.set_tracking(job_id, url)
            if place and job.suite and not job.study and job.suite not in self._suites:
                self._show_suite(job, self._client.suites.get(job.suite))
            if job.suite and any(State(event.data["state"]).ended for event in events if event.type == "state"):
                self._write_suites(job)
        except ProblemError as problem:
            if problem.status != 404:
                raise  # the service's trouble
            log.info("%s was deleted; its events are passed over", job_id)
        except MlflowException as error:
            if missing(error):
                self._runs.forget()
                log.warning("MLflow has lost runs; `pace tracking rebuild` fills them again")
            if not refused(error) and not self._stumbles_alone(job_id):
                raise
            self._pass_over(job_id, error)
        except (NoService, MemoryError):
            raise
        except Exception as error:  # something in what this job says, which another try does not mend
            if isinstance(error, OSError) and not self._stumbles_alone(job_id):  # unless it is this machine's disk
                raise
            self._pass_over(job_id, error)
        else:
            self._stumbles.pop(job_id, None)

    def _stumbles_alone(self, job_id: str) -> bool:
        """Whether MLflow fails at this job again and again, though it answers otherwise."""
        self._stumbles[job_id] += 1
        if self._stumbles[job_id] < STUMBLES:
            return False
        self._runs.any()  # raises where MLflow is away: then it is not the job
        return True

    def _pass_over(self, job_id: str, error: Exception) -> None:
        """One job's trouble is its own: all other jobs' events go on."""
        self.passed_over[job_id] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        log.error("%s: some of its events are not in MLflow: %s", job_id, self.passed_over[job_id], exc_info=error)

    @property
    def standing(self) -> str:
        """How far it is, in a sentence."""
        if not self.passed_over:
            return f"at event {self.position}"
        newest, why = list(self.passed_over.items())[-1]
        return f"at event {self.position}; passed over {len(self.passed_over)} job(s), the last {newest}: {why}"

    def _write_suites(self, job: Job) -> None:
        """Writes the tables of the suites that ended with this job."""
        for suite in self._client.suites.list(job=job.id):
            if suite.ended_at is None:
                continue
            table = self._client.suites.table(suite.id)
            files = {f"table.{form}": self._client.suites.written(suite.id, form) for form in ("csv", "md", "svg")}
            files["table.tex"] = self._client.suites.written(suite.id, "latex")
            self._runs.write_suite(job, suite, table, files)
            self._show_suite(job, suite)

    def _show_suite(self, job: Job, suite: SuiteView) -> None:
        """Makes the view of the suite's runs, to which its link leads from its first run on."""
        runs = self._client.jobs.list(suite=suite.id) if suite.reused else ()
        place = self._runs.show_suite(job, suite, [run.id for run in runs if run.suite != suite.id])
        url = f"{self._pages}/{place}"
        if suite.mlflow_url != url:
            self._client.suites.set_tracking(suite.id, url)
        self._suites.add(suite.id)

    def _job(self, job_id: str, events: list[JobEvent]) -> Job:
        """The job, read anew where an event may have brought its result."""
        if job_id not in self._jobs or any(event.type == "state" for event in events):
            self._jobs[job_id] = self._client.jobs.get(job_id)
        job = self._jobs[job_id]
        if job.state.ended:
            del self._jobs[job_id]
        return job


def main(rebuild: bool) -> int:
    """Tracks until SIGTERM or Ctrl-C; with `rebuild` only asks the tracking process to start anew."""
    with Client() as client:
        if rebuild:
            client.worker.set_cursor(CURSOR, 0)
            print("MLflow is filled again from the first event on; runs that are there already are left as they are.")  # noqa: T201
            return 0
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            raise SystemExit("MLFLOW_TRACKING_URI is not set: the address of the MLflow server to fill")
        # one quick try each: this process itself is what waits and tries again
        os.environ |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
        os.environ |= {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}  # else two lines a run in this process's log
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        hold = Hold(client)
        tracking = Tracking(client, MlflowClient(uri), Settings().mlflow_url or uri, hold.me)
        upkeep = Upkeep(client, MlflowClient(uri), Settings().keep_mlflow_adapters_s)
        threading.Thread(target=_beat, args=(client, MlflowClient(uri), tracking, hold, ended), daemon=True).start()
        while not ended.is_set():
            try:
                if hold.renew():
                    if 0 < tracking.step(WAIT_S) < PAGE:
                        ended.wait(GATHER_S)
                    upkeep.look_when_due()
                else:
                    ended.wait(AWAY_S)
                tracking.trouble = ""
            except Exception as error:
                # whatever it was, events wait in the service; /readyz shows it
                tracking.trouble = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                log.warning("%s", tracking.trouble)
                ended.wait(AWAY_S)
        hold.let_go()
    return 0


class Hold:
    """The right to be the one process that fills MLflow: two would make a run twice. Another one stands by."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.me = f"{socket.gethostname()}/{uuid.uuid4().hex}"
        self.ours = False

    def renew(self) -> bool:
        """Takes or keeps the right; whether it is ours."""
        ours = self._client.worker.hold_cursor(CURSOR, self.me, HOLD_S)
        if not ours and self.ours is not ours:
            log.warning("another process fills MLflow now; this one stands by")
        self.ours = ours
        return ours

    def let_go(self) -> None:
        """Lets the next one begin at once."""
        with suppress(NoService, ProblemError):
            if self.ours:
                self._client.worker.hold_cursor(CURSOR, self.me, 0)


def _beat(client: Client, mlflow: MlflowClient, tracking: Tracking, hold: Hold, ended: threading.Event) -> None:
    """Says how tracking and MLflow are; in a thread, since a call to a slow MLflow takes its time.

    A process that only stands by says nothing.
    """
    while not ended.wait(BEAT_S):
        if not hold.ours:
            continue
        try:
            mlflow.search_experiments(max_results=1)
            answer = ""
        except MlflowException as error:
            answer = error.message.splitlines()[0][:300]
        detail = tracking.trouble or tracking.standing
        try:
            hold.renew()  # also while a page is written, which may take longer than the right lasts
            client.worker.heartbeat(Heartbeat(part="mlflow", ok=not answer, detail=answer))
            client.worker.heartbeat(Heartbeat(part="tracking", ok=not tracking.trouble, detail=detail))
        except (NoService, ProblemError) as error:
            log.debug("heartbeat: %s", error)
