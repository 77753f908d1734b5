"""Plan and table of a suite, as people read them."""

from service.client import SuitePlan, SuiteTable, SuiteView
from service.client.address import how_to_open
from service.client.cli.leaderboard import print_leaderboard
from service.client.cli.output import cell, out, plain, print_table, print_text, shown_state, table
from service.client.cli.plan_cost import count, print_cost, print_waiting
from service.suites.forms import said_of

_SHOWN = 12  # refusals of a plan


def print_plan(plan: SuitePlan) -> None:
    """Prints what a suite would do, and what it takes."""
    total = len(plan.runs)
    sizes = f"{count(len(plan.rows), 'row')} × {count(len(plan.tasks), 'task')} × {count(len(plan.seeds), 'seed')}"
    sizes += f" × {count(len(plan.draws), 'draw')}" if len(plan.draws) > 1 else ""
    parts = [f"{plan.new} to run"]
    parts += [f"{plan.reused} done already"] if plan.reused else []
    parts += [f"{plan.shared} waiting or running already"] if plan.shared else []
    parts += [f"{plan.refused} refused"] if plan.refused else []
    print_text(f"{count(total, 'run')} ({sizes}): {', '.join(parts)}")
    if plan.searches:
        epochs = sum(search.epochs for search in plan.searches)
        studies = "study" if len(plan.searches) == 1 else "studies"
        print_text(
            f"before them {len(plan.searches)} {studies} of {count(plan.trials, 'trial')} on validation images, "
            f"{epochs:,} epochs together: {plan.trials + plan.new:,} jobs in all"
        )
    if plan.new:
        source = "as runs like them took" if plan.measured == plan.new else "estimated for a CPU"
        if 0 < plan.measured < plan.new:
            source = f"{plan.measured} as runs like them took, the others estimated for a CPU"
        print_cost(plan, source)
    else:
        print_waiting(plan)
    refused = list(dict.fromkeys((run.row, run.task, run.reason) for run in plan.runs if run.action == "refused"))
    for row, task, reason in refused[:_SHOWN]:
        print_text(f"  refused: {row} on {task}: {reason}")
    if len(refused) > _SHOWN:
        print_text(f"  and {len(refused) - _SHOWN} more; the table names all")


def print_suite(suite: SuiteView, board: SuiteTable, url: str) -> None:
    """Prints how far it is, the table, what was found for it, and what its rows differ by; `url`: of the service."""
    counts = ", ".join(f"{count} {state}" for state, count in sorted(suite.counts.items()))
    out().print(f"{suite.id}  {cell(suite.name)}  {shown_state(suite.state)}  {counts}")
    print_leaderboard(board)
    _print_searches(board)
    for line in said_of(board):
        print_text(f"  {line}")
    if suite.mlflow_url:
        out().print(f"  in MLflow: {plain(how_to_open(suite.mlflow_url, url))}")


def _print_searches(board: SuiteTable) -> None:
    if not board.searches:
        return
    shown = table("~row", "task", "search", ">trials", ">validation", "|settings")
    for search in board.searches:
        value = "" if search.value is None else f"{100 * search.value:.1f}"
        settings = ", ".join(f"{path} {found}" for path, found in (search.found or {}).items())
        trials = f"{search.ended} of {search.trials}"
        shown.add_row(cell(search.row), cell(search.task), search.study, trials, value, cell(settings or search.state))
    print_table(shown)
