"""A new version of the core does what an older one did under the same spec, and says so: cells stay as they are."""

import json
from pathlib import Path

from pace_core.spec import cell_hash, load_catalogue, validate

BEFORE = json.loads((Path(__file__).parent / "resolved_before_texts.json").read_text("utf-8"))
"""A resolved spec, as a version stored it that knew no texts."""


def test_fields_that_came_later_change_no_spec_that_leaves_them_alone() -> None:
    now = validate(BEFORE, load_catalogue()).json_dict()
    assert now == BEFORE
    assert cell_hash(now, "data", "weights") == cell_hash(BEFORE, "data", "weights")


def test_a_field_that_came_later_stands_in_the_spec_where_it_is_set() -> None:
    changed = {**BEFORE, "training": {**BEFORE["training"], "recompute": True}}
    assert validate(changed, load_catalogue()).json_dict() == changed
