"""What the service logs, and what becomes of it where nothing can be written."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.service.api import Api

SAYS = """
import logging
import structlog
from service import log
log.configure()
structlog.get_logger().error("of the service", job="job_1")
logging.getLogger("uvicorn").error("of a library")
print("goes on")
"""


def test_each_line_is_a_json_object() -> None:
    said = subprocess.run([sys.executable, "-c", SAYS], capture_output=True, text=True, check=True)
    ours, theirs = (json.loads(line) for line in said.stderr.splitlines())
    assert (ours["event"], ours["job"], ours["level"]) == ("of the service", "job_1", "error")
    assert theirs["event"] == "of a library"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_where_the_log_s_disk_is_full_its_lines_are_lost_and_nothing_else() -> None:
    with open("/dev/full", "w") as full:
        said = subprocess.run([sys.executable, "-c", SAYS], stdout=subprocess.PIPE, stderr=full, text=True, check=False)
    assert said.stdout == "goes on\n"


async def test_what_people_ask_is_logged_with_the_id_of_their_key_and_what_parts_say_all_the_time_is_not(
    api: Api,
) -> None:
    (reader,) = (await api.get("/v1/keys?role=reader"))["data"]
    with capture_logs() as said:
        await api.call("GET", "/v1/jobs", key=api.keys.reader)
        await api.call("POST", "/v1/jobs", json={}, key=api.keys.reader)
        await api.call("GET", "/v1/jobs", key="pace_unknown")
        await api.lease()
        await api.http.get("/healthz")
    lines = [(line["log_level"], line["path"], line["status"], line["key"]) for line in requests(said)]
    (worker,) = (await api.get("/v1/keys?role=worker"))["data"]
    assert lines == [
        ("info", "/v1/jobs", 200, reader["id"]),
        ("info", "/v1/jobs", 403, reader["id"]),
        ("info", "/v1/jobs", 401, None),
        ("debug", "/v1/leases", 200, worker["id"]),
        ("debug", "/healthz", 200, None),
    ]
    assert api.keys.reader not in str(said)
    assert "pace_unknown" not in str(said)


def requests(said: list[Any]) -> list[Any]:
    return [line for line in said if line["event"] == "request"]
