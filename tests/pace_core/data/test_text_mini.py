"""text-mini out of the ratings that its package holds."""

import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pace_core.commands import app
from pace_core.data.text_mini import Params, make, read, write
from pace_core.spec import RunError


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four thousand sentences, of which every fifth is rated near zero and one stands twice."""
    folder = tmp_path_factory.mktemp("text-mini")
    ratings = [(f'Sentence {n}  is "odd"', (2.5, -1.5, 0.3, 1.25, -3.0)[n % 5]) for n in range(4000)]
    lines = [f"{n}\t{score}\t{text}" for n, (text, score) in enumerate([*ratings, ratings[0]])]
    assert write("\n".join(lines), folder) == {"sentiment": 3200, "rating": 4000}
    return folder


def test_the_splits_of_a_task_share_no_sentence(home: Path) -> None:
    for task, train in (("sentiment", 200), ("rating", 1000)):
        search, final = (read(Params(path=str(home), task=task), phase=phase) for phase in ("search", "final"))
        parts = [{sample.sentences for sample in part} for part in (search.train, search.measured, final.measured)]
        assert [len(part) for part in parts] == [train, 1000, 2000]
        assert len(set().union(*parts)) == sum(len(part) for part in parts)
        assert search.train == final.train


def test_any_beginning_of_the_training_sentences_is_balanced(home: Path) -> None:
    texts = read(Params(path=str(home), task="sentiment", train_samples=100), phase="final")
    assert [sample.label for sample in texts.train] == [1.0, 0.0] * 50
    with pytest.raises(RunError, match=r"task.train_samples: there are 200, not 300"):
        read(Params(path=str(home), task="sentiment", train_samples=300), phase="final")


def test_a_search_opens_no_test_file(home: Path, tmp_path: Path) -> None:
    (tmp_path / "rating").mkdir()
    for name in ("train", "val"):
        (tmp_path / "rating" / f"{name}.tsv").write_bytes((home / "rating" / f"{name}.tsv").read_bytes())
    read(Params(path=str(tmp_path), task="rating"), phase="search")
    with pytest.raises(RunError, match="there is no file"):
        read(Params(path=str(tmp_path), task="rating"), phase="final")


def test_another_package_is_refused_with_the_command_that_downloads_the_right_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"pip download --no-deps --no-binary :all: vaderSentiment==3.3.2"):
        make(tmp_path / "nothing.tar.gz", tmp_path)
    (tmp_path / "text.txt").write_text("not ratings")
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "text.txt")
    for file in ("other.tar.gz", "text.txt"):
        said = CliRunner().invoke(app, ["data", "make", "text-mini", str(tmp_path / file), str(tmp_path / "out")])
        assert said.exit_code == 1
        assert "is not the source distribution" in " ".join(said.output.split())
