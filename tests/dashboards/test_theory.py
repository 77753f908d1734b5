"""Theory: what runs measured of gradients and of their distance from the pretrained network."""

from tests.dashboards.conftest import Visitor
from tests.dashboards.test_overview import EVIL, text_of
from tests.dashboards.test_studies import drawn
from tests.service.api import SPEC, Api


async def measured(api: Api, seed: int) -> str:
    job = await api.submit(seed=seed, row=EVIL)
    await api.take()
    for epoch in (1, 2):
        values = {"val/gradient_norm_loss": 0.5 / epoch, "val/fp_distance": 0.1 * epoch, "val/accuracy": 0.5}
        await api.report(job, 1, ("metrics", {"epoch": epoch, "step": epoch, "values": values}))
    await api.end(job, 1, "nan")
    return job


async def test_chosen_runs_are_drawn_over_epochs(member: Visitor, api: Api) -> None:
    first, second = await measured(api, 1), await measured(api, 2)
    page = (await member.get(f"/theory?job={first}&job={second}")).text
    lines = drawn(page, "gradient_norm_loss")["data"]
    assert [(line["x"], line["y"]) for line in lines] == [([1, 2], [0.5, 0.25])] * 2
    assert drawn(page, "fp_distance")["layout"]["yaxis"] == {"type": "log"}
    assert 'id="gradient_norm_output"' not in page
    assert EVIL not in page
    by_task = (await member.get("/theory?task=vtab-mini/digits")).text
    assert len(drawn(by_task, "fp_distance")["data"]) == 2
    assert 'value="vtab-mini/digits"' in by_task


async def test_runs_that_measured_nothing_are_named_with_the_cure(member: Visitor, api: Api) -> None:
    job = await api.submit(spec=SPEC)
    page = (await member.get(f"/theory?job={job}")).text
    assert "They ran without training.diagnostics" in text_of(page)
    assert f"/new/job?from={job}&amp;/training/diagnostics=true" in page
    form = (await member.get(f"/new/job?from={job}&/training/diagnostics=true")).text
    assert "<option selected>true</option>" in form


async def test_without_runs_it_says_what_is_to_be_seen(member: Visitor) -> None:
    assert "Choose runs" in text_of((await member.get("/theory")).text)
    assert "No run is like this." in (await member.get("/theory?row=nothing")).text
    assert (await member.get("/theory?job=job_0")).status_code == 404
