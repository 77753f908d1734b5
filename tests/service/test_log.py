"""What the service logs, and what becomes of it where nothing can be written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
