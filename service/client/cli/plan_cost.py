"""Plans: their cost as people read it, and their submission."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from service.client import StudyView, SuitePlan, SuiteView
from service.client.cli.output import duration, out, plain, print_json, print_text
from service.studies.schemas import StudyPlan

R = TypeVar("R")
P = TypeVar("P", bound=BaseModel)
V = TypeVar("V", StudyView, SuiteView)


def submitted(
    request: R,
    check: Callable[[R], P],
    submit: Callable[[R], V],
    show: Callable[[P], None],
    *,
    dry_run: bool,
    as_json: bool,
) -> V | None:
    """Prints the plan, and submits it unless it is a dry run; None where nothing is left to say."""
    plan = check(request)
    if not as_json:
        show(plan)
    elif dry_run:
        print_json(plan.model_dump(mode="json"))
    if dry_run:
        return None
    made = submit(request)
    if as_json:
        print_json(made.model_dump(mode="json"))
        return None
    out().print(f"[green]submitted[/] {made.id}")
    return made


def print_cost(plan: StudyPlan | SuitePlan, source: str) -> None:
    """Prints the time that a plan takes of one slot and of all, and what it waits for; `source`: whence the time."""
    if plan.slot_minutes is not None:
        line = f"about {duration(60 * plan.slot_minutes)} of one slot, {source}"
        if plan.minutes is not None:
            line += f"; about {duration(60 * plan.minutes)} on {count(plan.slots, 'slot')}"
        print_text(line)
    print_waiting(plan)


def print_waiting(plan: StudyPlan | SuitePlan) -> None:
    """Prints what keeps a plan from beginning at once."""
    if plan.waiting_for:
        out().print(f"[yellow]waits[/] for {plain(plan.waiting_for)}")


def count(number: int, what: str) -> str:
    """Returns a number and its noun, in the plural where there is not one."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
