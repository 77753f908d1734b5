"""Small folders of networks for text, with a tokenizer built from the words in use, and GLUE in small."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

GOOD, BAD = ("good", "fine", "lovely", "great"), ("bad", "dull", "awful", "poor")
NEUTRAL = ("the", "film", "is", "a", "story", "and", "plot", "was", "not", "very", "acting", ",", ".")
_KINDS = {
    "bert": (BertForSequenceClassification, BertConfig, {"type_vocab_size": 2}),
    "roberta": (RobertaForSequenceClassification, RobertaConfig, {"type_vocab_size": 1, "pad_token_id": 1}),
}
_SPECIAL = {"bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]"), "roberta": ("<s>", "<pad>", "</s>", "<unk>")}


def save_encoder(folder: Path, kind: str = "bert", *, pads_left: bool = False, **settings: Any) -> Path:
    """Saves a network of two blocks of width 24 as `transformers` does: config.json, weights, tokenizer.json."""
    torch.manual_seed(1)
    tokenizer = _tokenizer(kind)
    build, config, own = _KINDS[kind]
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
        "initializer_range": 0.3,
    }
    build(config(**{**sizes, **own, **settings})).save_pretrained(folder)
    tokenizer.padding_side = "left" if pads_left else "right"
    tokenizer.save_pretrained(folder)
    return folder


CHAT = (
    "{% for m in messages %}{% if m.role == 'user' %}<u> {{ m.content }} <e>"
    "{% else %}<a> {{ m.content }} <e>{% endif %}{% endfor %}{% if add_generation_prompt %}<a> {% endif %}"
)


def save_decoder(folder: Path, kind: str = "llama", *, pads_left: bool = False, **settings: Any) -> Path:
    """Saves a language model of two blocks of width 32 that knows digits and a few words; phi3 has fused layers."""
    torch.manual_seed(1)
    words = ["<pad>", "<u>", "<a>", "<e>", "<unk>", *"0123456789", "+", "=", "####", "plus", "what", "is", "add"]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "eos_token": "<e>",
        "additional_special_tokens": ["<u>", "<a>"],
    }
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, chat_template=CHAT, **special)
    tokenizer.padding_side = "left" if pads_left else "right"
    sizes = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 3,
        "tie_word_embeddings": True,
    }
    build, config = (LlamaForCausalLM, LlamaConfig) if kind == "llama" else (Phi3ForCausalLM, Phi3Config)
    build(config(**{**sizes, **settings})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_problems(home: Path, train: int = 40, test: int = 12) -> Path:
    """Writes sums of two digits as GSM8K has its problems."""
    home.mkdir(parents=True, exist_ok=True)
    for split, start, count in (("train", 0, train), ("test", 0, test)):
        rows = [(n % 5, n // 5 % 4) for n in range(start, start + count)]
        lines = [{"question": f"what is {a} plus {b}", "answer": f"{a} + {b} = {a + b}\n#### {a + b}"} for a, b in rows]
        (home / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return home


def _tokenizer(kind: str) -> PreTrainedTokenizerFast:
    special = _SPECIAL[kind]
    words = [*special, *GOOD, *BAD, *NEUTRAL]
    bert = kind == "bert"
    unknown, first, last, pad = (special[i] for i in ((1, 2, 3, 0) if bert else (3, 0, 2, 1)))
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=unknown))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    ids = [(first, words.index(first)), (last, words.index(last))]
    pair = f"{first} $A {last} $B:1 {last}:1" if bert else f"{first} $A {last} {last} $B {last}"
    made.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", pair=pair, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token=unknown, pad_token=pad, cls_token=first, sep_token=last
    )


def reviews(count: int, start: int = 0) -> list[tuple[str, int]]:
    """Sentences and whether they praise."""
    rows = []
    for number in range(start, start + count):
        label = number % 2
        word = (GOOD if label else BAD)[number // 2 % 4]
        rows.append((f"The {NEUTRAL[number % 5 + 1]} was {'very ' * (number % 4)}{word}.", label))
    return rows


def save_glue(home: Path, train: int = 32, dev: int = 16) -> Path:
    """Writes SST-2, CoLA, STS-B, MRPC, RTE, QNLI and MNLI as GLUE's site has them."""

    def write(name: str, header: str | None, rows: list[list[object]]) -> None:
        file = home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = ["\t".join(map(str, row)) for row in rows]
        file.write_text("\n".join([*([] if header is None else [header.replace(" | ", "\t")]), *lines]) + "\n", "utf-8")

    for split, rows in (("train", reviews(train)), ("dev", reviews(dev, start=train))):
        other = [text for text, _ in reviews(len(rows), start=3)]
        pairs = [
            (number, text, second, label)
            for number, ((text, label), second) in enumerate(zip(rows, other, strict=True))
        ]
        word = ("not_entailment", "entailment")
        write(f"SST-2/{split}.tsv", "sentence | label", [[text, label] for text, label in rows])
        write(f"CoLA/{split}.tsv", None, [["gj04", label, "", text] for text, label in rows])
        write(
            f"STS-B/{split}.tsv",
            "index | genre | filename | year | old_index | source1 | source2 | sentence1 | sentence2 | score",
            [[n, "g", "f", "y", n, "s", "s", a, b, 1.0 + 3.5 * label] for n, a, b, label in pairs],
        )
        write(
            f"MRPC/{split}.tsv",
            "Quality | #1 ID | #2 ID | #1 String | #2 String",
            [[label, n, n, a, b] for n, a, b, label in pairs],
        )
        write(f"RTE/{split}.tsv", "index | sentence1 | sentence2 | label", [[n, a, b, word[y]] for n, a, b, y in pairs])
        write(f"QNLI/{split}.tsv", "index | question | sentence | label", [[n, a, b, word[y]] for n, a, b, y in pairs])
        write(
            f"MNLI/{'train' if split == 'train' else 'dev_matched'}.tsv",
            "index | sentence1 | sentence2 | gold_label",
            [[n, a, b, ("contradiction", "entailment", "neutral")[n % 3]] for n, a, b, y in pairs],
        )
    return home
