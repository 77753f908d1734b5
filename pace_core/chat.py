"""Tokenization of problems and their worked answers for a language model, by the chat template it was trained with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from pydantic import TypeAdapter
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from pace_core.tokenization import LONGEST, padded, trimmed

IGNORED = -100
"""Label of a token that is not to be predicted, as torch's cross-entropy has it."""


@dataclass(frozen=True)
class Chat:
    """The whole transform, as an adapter carries it.

    Tokens are int32 [N, 3, length]: ids; 1 for a token and 0 for padding; 1 for a token of the answer, which is to be
    predicted.
    """

    tokenizer: str
    """JSON of the `tokenizers` library."""
    template: str | None
    """Of Jinja, as the model's folder has it; without one a problem, a line break and its answer follow each other."""
    begin: str | None
    """Token that begins a text, as the template calls it."""
    end: str
    """Token that ends a text."""
    max_length: int
    """Tokens of the longest problem and answer; of longer ones the end is cut."""
    pad_id: int
    stops: tuple[int, ...]
    """Tokens at which an answer ends."""

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> "Chat":
        """Restores a transform from `asdict`'s output in JSON. Raises ValueError or TypeError for all else."""
        made = TypeAdapter(cls).validate_python(dict(said))
        if not 1 <= made.max_length <= LONGEST:
            raise ValueError(f"its texts have no, or more than {LONGEST:,}, tokens")
        try:
            made.prompt("1")
        except Exception as error:  # of the tokenizer's library, or of the template
            raise ValueError(f"its tokenizer or chat template cannot be used: {error}") from error
        return made

    def prompt(self, problem: str) -> list[int]:
        """Returns the tokens up to the beginning of the answer."""
        return self._ids(self._text(problem, None))

    def dialogue(self, problem: str, answer: str) -> tuple[list[int], int]:
        """Returns the tokens of problem and answer, and where those to be predicted begin.

        That is where they depart from the tokens of the problem alone, whatever the template does at its end.
        """
        prompt, whole = self.prompt(problem), self._ids(self._text(problem, answer))
        start = next((i for i, (a, b) in enumerate(zip(prompt, whole, strict=False)) if a != b), len(prompt))
        return whole, start

    def encode(self, dialogues: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor, int]:
        """Returns tokens [N, 3, length], labels [N, length], and how many of the dialogues are cut."""
        made = [self.dialogue(*one) for one in dialogues]
        length = min(self.max_length, max(len(ids) for ids, _ in made))
        rows: list[Tensor] = []
        for ids, start in made:
            kept = ids[: self.max_length]
            answer = [int(place >= start) for place in range(len(kept))]
            rows.append(padded(torch.tensor([[kept, [1] * len(kept), answer]], dtype=torch.int32), length, self.pad_id))
        tokens = torch.cat(rows)
        labels = tokens[:, 0].long().masked_fill(tokens[:, 2] == 0, IGNORED)
        return tokens, labels, sum(len(ids) > self.max_length for ids, _ in made)

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of an answer, up to the first token that ends it."""
        end = next((place for place, one in enumerate(ids) if one in self.stops), len(ids))
        return self._loaded().decode(ids[:end], skip_special_tokens=True).strip()

    def __call__(self, tokens: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Leaves out the columns that are padding in every sample."""
        return trimmed(tokens)

    def _text(self, problem: str, answer: str | None) -> str:
        if self.template is None:
            return f"{self.begin or ''}{problem}\n" + ("" if answer is None else f"{answer}{self.end}")
        turns = [{"role": "user", "content": problem}]
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
        return self._loaded().apply_chat_template(turns, tokenize=False, add_generation_prompt=answer is None)

    def _ids(self, text: str) -> list[int]:
        return self._loaded().encode(text, add_special_tokens=False)

    def _loaded(self) -> Any:
        return _tokenizer(self.tokenizer, self.template, self.begin, self.end)


@lru_cache(maxsize=2)
def _tokenizer(content: str, template: str | None, begin: str | None, end: str) -> Any:
    made = Tokenizer.from_str(content)
    made.no_padding()
    made.no_truncation()
    return PreTrainedTokenizerFast(tokenizer_object=made, chat_template=template, bos_token=begin, eos_token=end)
