"""What a dry run says of memory, beside what jobs take one after the other in the warm actors of a stack."""

from pathlib import Path
from typing import Any

import pytest

from pace_core.spec import estimate, load_catalogue, merged, validate
from tests.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(900)]


def test_what_earlier_jobs_left_does_not_count_for_the_next(stack: Stack, images: Path) -> None:
    small: dict[str, Any] = {
        "task": {"name": "colours", "source": "image_folder", "path": str(images)},
        "method": {"name": "lora_add"},
        "training": {"epochs": 1, "batch_size": 16},
    }
    large = merged(small, {"regularizer": {"name": "pace"}, "training": {"batch_size": 96}})
    other = {
        **merged(small, {"training": {"batch_size": 8}}),
        "backbone": {"name": "vit_tiny_patch16_224.augreg_in21k", "weights": "none"},
    }
    for spec in (small, large, small, other, small, large, small):
        result = stack.submit(spec).ended().job.result
        assert result is not None
        assert result.data is not None
        said = estimate(validate(spec), load_catalogue(), result.data.images, device="cpu").memory_bytes
        assert said == pytest.approx(result.peak_memory_bytes, rel=0.25), spec
