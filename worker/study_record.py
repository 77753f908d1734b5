"""A study as Optuna has it, rebuilt from what the service knows; and what matters in it, by fANOVA."""

import math

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from service.client import Dimension, StudyReport, StudyRequest


def importance(report: StudyReport, request: StudyRequest) -> dict[str, float]:
    """Returns the share of the values' variance that each field explains, by fANOVA over the trials that ran longest;
    empty where they are fewer than four, or all alike."""
    study = rebuilt(report, request)
    values = {trial.value for trial in study.get_trials(states=[TrialState.COMPLETE])}
    if len(study.get_trials(states=[TrialState.COMPLETE])) < 4 or len(values) < 2:
        return {}
    found = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )
    return {path: share for path, share in found.items() if math.isfinite(share)}


def rebuilt(report: StudyReport, request: StudyRequest) -> optuna.Study:
    """Returns the study as Optuna has it: trials of the last rung are complete, those stopped before are pruned."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if request.mode == "max" else "minimize")
    longest = report.best.epochs if report.best else 0
    curves = {curve.trial: dict(zip(curve.epochs, curve.values, strict=True)) for curve in report.curves}
    for trial in report.trials:
        if trial.value is None or trial.state == "failed":
            continue
        whole = trial.epochs == longest
        study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE if whole else TrialState.PRUNED,
                value=trial.value if whole else None,
                params=trial.config,
                distributions={path: _distribution(request.space[path]) for path in trial.config},
                intermediate_values=curves.get(trial.number) or {trial.epochs: trial.value},
            )
        )
    return study


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.choice is not None:
        return CategoricalDistribution(dimension.choice)
    if dimension.integer is not None:
        return IntDistribution(*dimension.integer)
    if dimension.loguniform is not None:
        return FloatDistribution(*dimension.loguniform, log=True)
    assert dimension.uniform is not None
    return FloatDistribution(*dimension.uniform)
