"""Examples in the OpenAPI document: of bodies, answers and parameters."""

from typing import Any

_AT = "2026-11-27T09:00:00Z"
_JOB, _SUITE, _STUDY, _KEY = (f"{kind}_01kb2v8x3jq4m5n6p7r8s9t0vw" for kind in ("job", "suite", "study", "key"))
_SLOT = {"name": "gpu-0", "device": "cuda", "memory_bytes": 42949672960, "node": "node-1"}
_EVENT = {"seq": 1, "at": _AT, "type": "log", "data": {"level": "info", "message": "data are read"}}
BODIES: dict[str, dict[str, Any]] = {
    "JobPatch": {"priority": 70, "tags": {"sheet": "3"}},
    "TrackingLink": {"url": "https://mlflow.example.org/#/experiments/1/runs/2"},
    "CursorUpdate": {"position": 1200, "holder": "host/1f2e3d4c"},
    "CursorHold": {"holder": "host/1f2e3d4c", "for_s": 30},
    "LeaseRequest": {
        "protocol": 1, "dispatcher": "host/1f2e3d4c", "slots": [_SLOT], "all_slots": [_SLOT], "code_version": "0.1.0",
    },
    "Report": {"token": "of the lease", "events": [_EVENT]},
    "KeyRequest": {"name": "laptop", "role": "user", "project": "vision"},
    "Batch": {"verb": "cancel", "jobs": [_JOB]},
    "Exchange": {"link": "pace_link_5d41402abc4b2a76b9719d911017c592"},
    "Rotation": {"overlap_s": 3600},
    "ProjectRequest": {"name": "vision"},
    "ProjectPatch": {"max_running": 4},
    "Place": {"node": "node-1"},
    "Drain": {"node": "node-1", "reason": "a new fan"},
    "SuiteExtension": {"seeds": [3, 4]},
    "StudyExtension": {"trials": 10},
    "DriverRequest": {"holding": []},
    "Shown": {"token": "of the lease"},
    "RungRequest": {"token": "of the lease", "config": {"optimizer.lr": 0.01}, "rung": 0, "wait_s": 20},
    "TrialStopped": {"token": "of the lease", "trial": 3, "rung": 0},
    "DriverEnd": {"token": "of the lease"},
    "Join": {"dispatcher": "host/1f2e3d4c", "code_version": "0.1.0"},
    "Leave": {"dispatcher": "host/1f2e3d4c"},
    "Proof": {"node": "node-1"},
    "Heartbeat": {"part": "ray", "ok": True, "detail": "2 node(s) with slots"},
}  # fmt: skip
"""Schema of a request's body → one that works."""

_KNOWN_KEY = {
    "id": _KEY, "name": "laptop", "role": "user", "owner": "ada", "project": "vision", "cluster": None,
    "created_at": _AT, "last_used_at": None, "expires_at": None, "revoked_at": None,
}  # fmt: skip
_KNOWN_JOB: dict[str, Any] = {
    "id": _JOB, "project": "vision", "owner": "ada", "name": "", "row": "LoRA", "tags": {"sheet": "3"},
    "priority": 50, "state": "queued", "attempt": 0, "failures": 0, "max_attempts": 3, "max_runtime_s": 604800.0,
    "spec": {"task": {"name": "vtab-mini/digits"}, "method": {"name": "lora_add", "rank": 8}}, "cell": None,
    "benchmark": "vtab-mini", "task": "digits", "phase": "final", "seed": 0, "created_at": _AT, "started_at": None,
    "ended_at": None, "reason": None, "message": None, "result": None, "progress": None,
    "waiting_for": "a free slot",
    "place": {"ahead": 3, "starts_in_s": 240.0}, "pause_requested": False, "cancel_requested": False,
    "retry_of": None, "suite": None, "study": None, "mlflow_url": None, "notices": [],
}  # fmt: skip
_HAPPENED: dict[str, Any] = {
    "job": _JOB, "number": 1, "attempt": 0, "seq": None, "at": _AT, "type": "state",
    "data": {"move": "submit", "state": "queued", "attempt": 0},
}  # fmt: skip
_KNOWN_SLOT = {**_SLOT, "labels": {"gpu": "H100"}, "job": _JOB, "closed": None, "trouble": ""}
_SUITE_COUNTS = {"succeeded": 5, "running": 1}
_CHANGE: dict[str, Any] = {
    "id": 12, "at": _AT, "actor": "ada", "role": "user", "key": _KEY, "action": "job.cancel", "target": _JOB,
    "project": "vision", "detail": {}, "address": "127.0.0.1", "request": "req_01kb2v8x3jq4m5n6p7r8s9t0vw",
}  # fmt: skip
_UPLOADED = {
    "id": "ds_01ja9z7k3q2m8v5x1c4b6n0e2r", "project": "vision", "owner": "ada", "name": "photos", "bytes": 1000,
    "sha256": "0" * 64, "received": 1000, "part_bytes": 8000000, "state": "checking", "job": _JOB, "message": None,
    "data": None, "created_at": _AT,
}  # fmt: skip
ANSWERS: dict[str, dict[str, Any]] = {
    "BatchView": {"data": [{"job": _JOB, "done": False, "detail": "the job has ended already (succeeded)"}]},
    "JobTotals": {
        "states": {"queued": 3, "running": 2},
        "waiting": [{"waiting_for": "a free slot", "jobs": 3, "first": _JOB}],
    },
    "NewSession": {
        "secret": "pace_session_5d41402abc4b2a76b9719d911017c592",
        "expires_at": "2026-12-28T09:30:00Z",
    },
    "JobView": _KNOWN_JOB,
    "JobPage": {"data": [_KNOWN_JOB], "has_more": False, "next_cursor": None},
    "EventPage": {"data": [_HAPPENED], "has_more": False, "next_cursor": 1},
    "PlacedEventPage": {"data": [{**_HAPPENED, "position": 1200}], "has_more": False, "next_cursor": 1200},
    "DeletionPage": {"data": [_JOB], "has_more": False, "next_cursor": _JOB},
    "CursorView": {"name": "mlflow", "position": 1200},
    "LeaseResponse": {
        "leases": [
            {
                "job": _JOB, "attempt": 1, "slot": "gpu-0", "token": "of the lease", "spec": _KNOWN_JOB["spec"],
                "folder": f"/srv/pace/jobs/{_JOB}/1", "resume_from": [], "max_runtime_s": 604800.0,
            }
        ],
        "lost": [],
        "lease_s": 60.0,
    },
    "ReportResponse": {"acknowledged": 1, "directive": "continue"},
    "DatasetView": _UPLOADED,
    "DatasetPage": {"data": [_UPLOADED], "has_more": False, "next_cursor": None},
    "SuiteView": {
        "id": _SUITE, "project": "vision", "owner": "ada", "name": "", "benchmark": "vtab-mini", "phase": "final",
        "state": "running", "counts": _SUITE_COUNTS, "runs": 6, "reused": 0, "rows": ["LoRA", "PACE"],
        "tasks": ["digits"], "seeds": [0, 1, 2], "trials": 0, "trials_ended": 0, "max_parallel": None,
        "stop_after": None, "stopped": None, "cancel_requested": False, "minutes_left": 2.5, "created_at": _AT,
        "ended_at": None, "mlflow_url": None,
    },
    "DriverResponse": {"lease": None},
    "DriverDirective": {"directive": "continue"},
    "RungAnswer": {"trial": 3, "ended": True, "value": 0.81, "epochs": 9, "stopped": False, "failed": None},
    "NewKey": {**_KNOWN_KEY, "secret": "pace_…, shown this once"},
    "KeyView": _KNOWN_KEY,
    "Revoked": {"revoked": [_KEY]},
    "ProjectView": {"name": "vision", "created_at": _AT, "archived_at": None, "max_running": 4, "stored_bytes": 10},
    "AuditPage": {"data": [_CHANGE], "has_more": False, "next_cursor": None},
    "LimitsView": {
        "max_body_bytes": 1_000_000,
        "max_report_bytes": 8_000_000,
        "max_tags": 50,
        "keep_uploads_s": 604_800.0,
        "project": {
            "project": "vision", "max_queued": 10_000, "queued": 12, "max_running": 4, "running": 4,
            "highest_priority": 80, "default_max_runtime_s": 604800.0, "max_stored_bytes": 10**12, "stored_bytes": 10,
        },
    },
    "ClusterView": {
        "name": "gpu-hall", "there": True, "seen_at": _AT, "code_version": "0.1.0", "dispatcher": "host",
        "closed": None, "slots": [_KNOWN_SLOT],
    },
    "Joined": {"cluster": "gpu-hall", "namespace": "pace-1f2e3d4c-gpu-hall", "proof": "/srv/pace/proofs/1f2e3d4c"},
    "Readiness": {"ready": True, "complete": True, "parts": {}},
}  # fmt: skip
"""Schema of an answer → what one looks like."""

NAMES = {
    "/problems": "not-found",
    "/v1/cursors": "mlflow",
    "/v1/projects": "vision",
    "/v1/clusters": "gpu-hall",
}
"""Path → a name of what lies below it."""
PARAMETERS: dict[str, Any] = {
    "job_id": _JOB,
    "job": _JOB,
    "dataset_id": _UPLOADED["id"],
    "offset": 0,
    "suite_id": _SUITE,
    "suite": _SUITE,
    "study_id": _STUDY,
    "key_id": _KEY,
    "attempt": 1,
    "path": "1/adapter.safetensors",
    "benchmark": "vtab-mini",
    "kind": "methods",
    "idempotency-key": "sheet-3",
    "state": ["queued", "running"],
    "project": "vision",
    "task": "vtab-mini/digits",
    "row": "PACE",
    "owner": "ada",
    "tag": ["sheet=3"],
    "since": "2026-11-20T00:00:00Z",
    "search": "digits rank",
    "wait": 30,
    "type": ["metrics"],
    "key": ["val/accuracy"],
    "range": "bytes=0-1023",
    "actor": "ada",
    "action": "key.revoke",
    "target": _JOB,
}
"""Name of a parameter → a value that it takes."""
