"""The suites of the theory make exactly the runs of its pictures."""

from pace_core.spec import load_catalogue
from perf.theory_runs import planned, suites_of
from service.suites.plan import plan


def test_the_suites_make_every_planned_run_and_no_other() -> None:
    wanted = {spec.model_dump_json() for spec in planned(["glyphs", "textures"])}
    runs = [run for asked in suites_of(planned(["glyphs", "textures"])) for run in plan(asked, load_catalogue()).runs]
    assert {run.spec.model_dump_json() for run in runs if run.spec} == wanted
    assert len(runs) == len(wanted)
