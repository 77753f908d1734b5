"""Tokenization from sentences to a network's input: the one transform of training, evaluation and prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from tokenizers import Tokenizer
from torch import Tensor

Sentences = tuple[str, ...]
"""One sentence, or a pair of them."""
SCORE = "score"
"""Name of the one output where labels are scores instead of classes."""
LONGEST = 1_000_000
"""Tokens, beyond which no network reads."""


@dataclass(frozen=True)
class Tokenization:
    """The whole transform, as an adapter carries it.

    Tokens are int32 [N, 3, length]: ids; 1 for a token and 0 for padding; 0 for the first sentence and 1 for the
    second.
    """

    tokenizer: str
    """JSON of the `tokenizers` library, with all of the vocabulary and the tokens around a sentence."""
    max_length: int
    """Tokens of the longest input; of longer ones the end of the longer sentence is cut."""
    pad_id: int

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> "Tokenization":
        """Restores a transform from `asdict`'s output in JSON. Raises ValueError or TypeError for all else."""
        made = TypeAdapter(cls).validate_python(dict(said))
        if not 1 <= made.max_length <= LONGEST:
            raise ValueError(f"its texts have no, or more than {LONGEST:,}, tokens")
        try:
            made._loaded()
        except Exception as error:  # the library has one kind for all that is wrong
            raise ValueError(f"its tokenizer cannot be read: {error}") from error
        return made

    def encode(self, samples: Sequence[Sentences]) -> tuple[Tensor, int]:
        """Returns the tokens of all samples, padded to the longest, and how many samples are cut."""
        encodings = self._loaded().encode_batch([s if len(s) > 1 else s[0] for s in samples])
        length = max((len(encoding) for encoding in encodings), default=0)
        rows = [torch.tensor([[e.ids, [1] * len(e), e.type_ids]], dtype=torch.int32) for e in encodings]
        return torch.cat([self.padded(row, length) for row in rows]), sum(bool(e.overflowing) for e in encodings)

    def padded(self, tokens: Tensor, length: int) -> Tensor:
        """Returns the tokens with padding behind them up to a length, whatever side the tokenizer was made for."""
        return padded(tokens, length, self.pad_id)

    def __call__(self, tokens: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Leaves out the columns that are padding in every sample: a batch is as long as its longest sentence."""
        return trimmed(tokens)

    def _loaded(self) -> Tokenizer:
        return _tokenizer(self.tokenizer, self.max_length)


@lru_cache(maxsize=4)  # building one of a large vocabulary takes a tenth of a second
def _tokenizer(content: str, max_length: int) -> Tokenizer:
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def padded(tokens: Tensor, length: int, pad_id: int) -> Tensor:
    """Returns tokens [N, 3, …] with padding behind them up to a length."""
    room = length - tokens.shape[2]
    if room == 0:
        return tokens
    return torch.cat([F.pad(tokens[:, :1], (0, room), value=pad_id), F.pad(tokens[:, 1:], (0, room))], dim=1)


def trimmed(tokens: Tensor) -> Tensor:
    """Returns tokens [N, 3, …] without the last columns, if they are padding in every sample."""
    return tokens[..., : max(1, int(tokens[:, 1].sum(1).max()))].contiguous()
