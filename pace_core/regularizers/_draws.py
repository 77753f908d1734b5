"""Steps under noise: one draw for each sample, or two and their distance."""

from pace_core.regularizers._step import Batch, Setting, Step, accumulate, classification, consistency


def step_of_one_draw(setting: Setting, batch: Batch, step: int) -> Step:
    """Cross-entropy under one draw of the noise."""

    def passing(samples: slice):
        with setting.current.noised(step, len(batch), 1, samples):
            logits = setting.forward(batch.images[samples])
        loss = classification(logits, batch.labels[samples], len(batch))
        return {"loss": loss, "loss_classification": loss}, logits

    return accumulate(batch, setting.micro_batch, passing)


def step_of_two_draws(setting: Setting, batch: Batch, step: int, weight: float) -> Step:
    """mean CE(f1) + weight · mean ||f1 - f2||² (PACE, eq. 12); gradients flow through both draws."""

    def passing(samples: slice):
        with setting.current.noised(step, len(batch), 2, samples):
            first, second = setting.forward(batch.images[samples]).chunk(2)
        terms = {
            "loss_classification": classification(first, batch.labels[samples], len(batch)),
            "loss_consistency": consistency(first, second, len(batch)),
        }
        return {"loss": terms["loss_classification"] + weight * terms["loss_consistency"], **terms}, first

    return accumulate(batch, setting.micro_batch, passing)
