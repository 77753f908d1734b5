"""Cost of a plan, as people read it."""

from service.client import SuitePlan
from service.client.cli.output import duration, out, plain, print_text
from service.studies.schemas import StudyPlan


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
