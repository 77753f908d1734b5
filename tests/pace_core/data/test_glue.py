"""GLUE in both of its layouts, and every way in which its files are odd or broken."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pace_core import data
from pace_core.data.glue import SOURCE, TASKS, Params, read
from pace_core.spec import RunError, load_benchmarks
from tests.texts import save_glue


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return save_glue(tmp_path / "glue")


def fingerprint(home: Path, task: str) -> str:
    return SOURCE.fingerprint(Params(path=str(home), task=task), phase="search")


@pytest.mark.parametrize("task", TASKS)
def test_both_layouts_hold_the_same(home: Path, tmp_path: Path, task: str) -> None:
    texts = read(Params(path=str(home), task=task), phase="search")
    for stem, samples in (("train", texts.train), (TASKS[task].validation, texts.measured)):
        columns = {
            name: [sample.sentences[place] for sample in samples] for place, name in enumerate(TASKS[task].sentences)
        }
        labels = [sample.label if texts.scored else int(sample.label) for sample in samples]
        file = tmp_path / "hub" / task / f"{stem}-00000-of-00001.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({**columns, "label": labels, "idx": list(range(len(samples)))}), file)
    assert fingerprint(tmp_path / "hub", task) == fingerprint(home, task)


@pytest.mark.parametrize("task", TASKS)
def test_the_benchmark_says_what_the_source_gives(home: Path, task: str) -> None:
    texts = read(Params(path=str(home), task=task), phase="search")
    said = load_benchmarks()["glue"].task(task)
    assert said is not None
    assert len(texts.class_names) == said.num_classes
    assert texts.metric == load_benchmarks()["glue"].metric_of(task)


def test_a_stray_quotation_mark_swallows_nothing(home: Path) -> None:
    file = home / "SST-2" / "train.tsv"
    file.write_text('\ufeffsentence\tlabel\n"an open quote\t1\nthe next "line\t0\n\n', "utf-8")
    texts = read(Params(path=str(home), task="sst2"), phase="search")
    assert [(sample.sentences, sample.label) for sample in texts.train] == [
        (('"an open quote',), 1.0),
        (('the next "line',), 0.0),
    ]


def test_all_faulty_lines_are_told_at_once(home: Path) -> None:
    (home / "RTE" / "train.tsv").write_text(
        "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\ta\tb\tmaybe\n2\ta\n3\t\tb\tentailment\n"
    )
    with pytest.raises(RunError) as failed:
        read(Params(path=str(home), task="rte"), phase="search")
    assert failed.value.reason == "data_corrupt"
    assert failed.value.message.splitlines() == [
        "RTE/train.tsv line 3: label 'maybe' is not one of entailment, not_entailment, or its number from 0",
        "RTE/train.tsv line 4: has 2 columns, and 4 are needed",
        "RTE/train.tsv line 5: a sentence is empty",
    ]


@pytest.mark.parametrize("score", ["5.5", "nan", "x", "-1"])
def test_a_score_lies_between_0_and_5(home: Path, score: str) -> None:
    (home / "STS-B" / "dev.tsv").write_text(f"sentence1\tsentence2\tscore\na\tb\t{score}\n")
    with pytest.raises(RunError, match=r"label '.*' is not a score of 0 to 5"):
        read(Params(path=str(home), task="stsb"), phase="search")


def test_hidden_labels_are_refused(tmp_path: Path) -> None:
    for stem in ("train", "validation"):
        file = tmp_path / "cola" / f"{stem}-00000-of-00001.parquet"
        file.parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"sentence": ["a"], "label": [-1]}), file)
    with pytest.raises(RunError, match="row 0: label -1 is not one of unacceptable, acceptable"):
        read(Params(path=str(tmp_path), task="cola"), phase="search")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has neither CoLA/train.tsv nor cola/train-00000-of-00001.parquet"):
        read(Params(path=str(tmp_path), task="cola"), phase="search")
    with pytest.raises(RunError, match="GLUE has no task 'wnli'"):
        read(Params(path=str(tmp_path), task="wnli"), phase="search")


def test_data_check_counts_every_task_and_compares_with_the_published_numbers(home: Path) -> None:
    (home / "QNLI" / "dev.tsv").unlink()
    found = {one.task: one for one in data.check(load_benchmarks()["glue"], data.find, str(home), 20)}
    assert found["cola"].images == {"train": 32, "val": 16}
    assert "train: 32 texts, the published numbers are of 8,551" in found["cola"].warnings
    assert not found["cola"].faults
    assert "there is no file" in found["qnli"].faults[0]
