"""A user's day with a generated client: `python conversation.py URL KEY`. Runs in the generator's environment.

Prints what the client understood, as JSON.
"""

import json
import sys

from pace_client import AuthenticatedClient
from pace_client.api.catalogue import get_catalogue
from pace_client.api.history import get_events
from pace_client.api.jobs import cancel, get_job, list_jobs, post_job, retry
from pace_client.models import JobRequest, JobView, Kind, LoRA, Optimizer, RunSpec, Task

url, key = sys.argv[1:]
service = AuthenticatedClient(base_url=url, token=key)
spec = RunSpec(task=Task(name="vtab-mini/digits"), method=LoRA(name="lora_add", rank=4))
queued = post_job.sync(client=service, body=JobRequest(spec=spec, name="by a generated client", priority=60))
assert isinstance(queued, JobView), queued
checked = post_job.sync(client=service, body=JobRequest(spec=spec), validate_only=True)
wrong = RunSpec(task=spec.task, method=spec.method, optimizer=Optimizer(lr=-1.0))
refused = post_job.sync_detailed(client=service, body=JobRequest(spec=wrong))
ended = cancel.sync(client=service, job_id=queued.id)
again = retry.sync(client=service, job_id=queued.id)
print(
    json.dumps(
        {
            "queued": [queued.name, str(queued.state), queued.priority],
            "rank": queued.spec["method"]["rank"],
            "checked": type(checked).__name__,
            "refused": [refused.status_code, refused.parsed.title, [each.pointer for each in refused.parsed.errors]],
            "ended": [str(ended.state), ended.reason],
            "retry_of": again.retry_of == queued.id,
            "listed": [job.id for job in list_jobs.sync(client=service).data] == [again.id, queued.id],
            "again": str(get_job.sync(client=service, job_id=again.id).state),
            "events": [str(event.type_) for event in get_events.sync(client=service, job_id=queued.id).data],
            "methods": [
                entry["name"] for entry in get_catalogue.sync(client=service, kind=Kind.METHODS).to_dict()["data"]
            ],
        }
    )
)
