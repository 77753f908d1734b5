"""Steps recorded on a GPU once, as a CUDA graph, and replayed: the host launches one thing instead of a thousand."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from pace_core.noise import Source
from pace_core.regularizers import Batch, Regularizer, Step, StepContext

_EAGER_STEPS = 3  # before a recording: libraries set themselves up, and the draws of a step become known


class RecordedSteps:
    """A regularizer whose steps are recorded on the device and replayed from then on.

    What it draws is drawn before each replay, into the buffers that the recording reads, so the draws stay functions of
    (seed, step, name). Steps that cannot be recorded (what they do depends on what they compute) run as they are.
    """

    def __init__(self, regularizer: Regularizer, context: StepContext) -> None:
        self.interval = regularizer.interval
        self._regularizer, self._context = regularizer, context
        self._draws = BufferedSource(context.current.source)
        context.current.source = self._draws
        self._stream = torch.cuda.Stream()
        self._done: Counter[bool] = Counter()
        self._recordings: dict[bool, Recording | None] = {}

    def step(self, batch: Batch, step: int) -> Step:
        kind = step % self.interval == 0
        if kind not in self._recordings:
            if self._done[kind] < _EAGER_STEPS:
                self._done[kind] += 1
                return self._eager(batch, step)
            self._recordings[kind] = self._recorded(batch, step)
        recording = self._recordings[kind]
        if recording is None or not recording.fits(batch):
            return self._regularizer.step(batch, step)
        self._draws.fill(step)
        return recording.replayed(batch)

    def after_update(self) -> None:
        self._regularizer.after_update()

    def state_dict(self) -> dict[str, Tensor]:
        return self._regularizer.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._regularizer.load_state_dict(state)

    def _eager(self, batch: Batch, step: int) -> Step:
        """Runs a step on a stream of its own, as whatever is recorded later must have run before."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            done = self._regularizer.step(batch, step)
        current.wait_stream(self._stream)
        return done

    def _recorded(self, batch: Batch, step: int) -> "Recording | None":
        trained = self._context.trained
        try:
            return Recording(self._regularizer, trained, batch, step)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # the step waits for the device, or asks torch's generator for its state
            for parameter in trained:
                parameter.grad = None
            _end_recording()
            return None


def _end_recording() -> None:
    """Ends what a recording that failed leaves: torch's generator goes on as if recorded, until one succeeds."""
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        torch.empty(0, device="cuda")


class Recording:
    """One step as a graph of the device's work, with its inputs, its gradients and its outcome in fixed places.

    Raises RuntimeError where the step cannot be recorded.
    """

    def __init__(self, regularizer: Regularizer, trained: list[nn.Parameter], batch: Batch, step: int) -> None:
        self._batch = Batch(batch.images.clone(), batch.labels.clone(), batch.index.clone())
        self._trained, self._graph = trained, torch.cuda.CUDAGraph()
        for parameter in trained:
            parameter.grad = None
        with torch.cuda.graph(self._graph):
            self._outcome = regularizer.step(self._batch, step)
        self._gradients = [parameter.grad for parameter in trained]

    def fits(self, batch: Batch) -> bool:
        """Tells whether a batch has the size of the recorded one."""
        return batch.images.shape == self._batch.images.shape

    def replayed(self, batch: Batch) -> Step:
        """Runs the step on another batch; the parameters' gradients are those of this step alone."""
        self._batch.images.copy_(batch.images)
        self._batch.labels.copy_(batch.labels)
        self._batch.index.copy_(batch.index)
        self._graph.replay()
        for parameter, gradient in zip(self._trained, self._gradients, strict=True):
            parameter.grad = gradient
        terms = {name: value.clone() for name, value in self._outcome.terms.items()}
        return Step(terms, self._outcome.logits, self._outcome.labels)


class BufferedSource:
    """A source of draws that keeps a buffer for each, and while a step is recorded gives the buffers out."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._buffers: dict[tuple[object, ...], tuple[Tensor, Callable[[int], Tensor]]] = {}

    def normal(self, step: int, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        like = like.new_empty(0)
        draw = partial(self._source.normal, name=name, shape=shape, like=like)
        return self._drawn(step, ("normal", name, shape, like.dtype), draw)

    def bernoulli(self, step: int, name: str, samples: int, probability: float, like: Tensor) -> Tensor:
        like = like.new_empty(0)
        draw = partial(self._source.bernoulli, name=name, samples=samples, probability=probability, like=like)
        return self._drawn(step, ("bernoulli", name, samples, probability, like.dtype), draw)

    def fill(self, step: int) -> None:
        """Draws all that a step needs."""
        for buffer, draw in self._buffers.values():
            buffer.copy_(draw(step))

    def _drawn(self, step: int, key: tuple[object, ...], draw: Callable[[int], Tensor]) -> Tensor:
        if torch.cuda.is_current_stream_capturing():
            if key not in self._buffers:
                raise RuntimeError(f"a step that is recorded draws what none before it drew: {key[:2]}")
            return self._buffers[key][0]
        value = draw(step)  # the buffers stay as they are: a backward pass may still read them
        self._buffers.setdefault(key, (value.clone(), draw))
        return value
