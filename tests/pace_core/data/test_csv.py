"""CSV files of paths and labels."""

from pathlib import Path

import pytest

from pace_core.data import csv
from pace_core.spec import RunError
from tests.pace_core.data.writing import Silent, squashed, write_image


def load(path: Path, phase: str = "search", num_classes: int | None = None, **params):
    given = csv.Params(path=str(path), **params)
    return csv.SOURCE.load(given, phase=phase, num_classes=num_classes, preprocessing=squashed(8), reporter=Silent())


def write(path: Path, rows: list[str], header: str = "path,label") -> Path:
    """The list, and an image for each row; grey value = the row's number."""
    for i, row in enumerate(rows):
        write_image(path.parent / row.split("\t" if path.suffix == ".tsv" else ",")[0], i)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_class_names_are_the_training_labels_in_code_point_order(tmp_path: Path) -> None:
    file = write(tmp_path / "all.csv", [f"i/{i}.png,{'cat' if i % 2 else 'Dog'}" for i in range(10)])
    splits = load(file)
    assert splits.class_names == ("Dog", "cat")
    assert [len(splits.train), len(splits.measured[1])] == [8, 2]
    assert all(image[0, 0, 0] % 2 == y for image, y in zip(splits.train.images, splits.train.labels, strict=True))


def test_a_split_column_says_where_a_row_belongs(tmp_path: Path) -> None:
    words = ["train"] * 4 + ["val", "valid", "TEST", "test"]
    rows = [f"i/{i}.png,{i % 2},{word}" for i, word in enumerate(words)]
    file = write(tmp_path / "all.csv", rows, header="path,label,fold")
    search, final = load(file, split_column="fold"), load(file, "final", split_column="fold")
    assert search.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert search.measured[1].images[:, 0, 0, 0].tolist() == [4, 5]
    assert final.train.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert final.measured[1].images[:, 0, 0, 0].tolist() == [6, 7]


def test_a_file_a_split_and_a_search_works_without_the_test_file(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", ["t0.png,a", "t1.png,b"])
    val = write(tmp_path / "val.csv", ["v0.png,a", "v1.png,b", "v2.png,a"])
    paths = {"val_path": str(val), "test_path": str(tmp_path / "test.csv")}
    assert len(load(train, **paths).measured[1]) == 3
    with pytest.raises(RunError, match=r"task\.test_path: there is no file .*test\.csv"):
        load(train, "final", **paths)
    write(tmp_path / "test.csv", ["x0.png,b"])
    final = load(train, "final", **paths)
    assert (len(final.train), final.measured[1].labels.tolist()) == (5, [1])


def test_zero_padded_numbers_are_names_and_plain_numbers_are_labels(tmp_path: Path) -> None:
    padded = write(tmp_path / "padded.csv", [f"{i}.png,{i % 2 + 1:03}" for i in range(6)])
    assert load(padded).class_names == ("001", "002")
    plain = write(tmp_path / "plain.csv", [f"{i}.png,{2 * (i % 2)}" for i in range(6)])
    with pytest.raises(RunError, match=r"not all of 0\.\.2 occur; set task\.num_classes"):
        load(plain)
    assert load(plain, num_classes=3).train.labels.unique().tolist() == [0, 2]


def test_labels_out_of_range_are_named_with_file_and_line(tmp_path: Path) -> None:
    file = write(tmp_path / "all.csv", ["0.png,0", "1.png,1", "2.png,7", "3.png,1", "4.png,9"])
    with pytest.raises(RunError) as refused:
        load(file, num_classes=3)
    assert refused.value.reason == "data_corrupt"
    assert "all.csv line 4: label '7' is out of range 0..2" in refused.value.message
    assert "all.csv line 6: label '9' is out of range 0..2" in refused.value.message


def test_a_label_unknown_in_training_is_named_with_file_and_line(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", ["t0.png,a", "t1.png,b"])
    val = write(tmp_path / "val.csv", ["v0.png,a", "v1.png,c"])
    with pytest.raises(RunError, match=r"val\.csv line 3: label 'c' is not one of the 2 classes of the training rows"):
        load(train, val_path=str(val))


def test_tabs_blank_lines_byte_order_mark_quotes_and_backslashes(tmp_path: Path) -> None:
    write_image(tmp_path / "i" / "a b.png", 3)
    write_image(tmp_path / "i" / "c.png", 4)
    file = tmp_path / "list.tsv"
    file.write_text('\ufefffile\tkind\n"i\\a b.png"\tx\n\ni/c.png\ty\ni/c.png\ty\n', encoding="utf-8")
    splits = load(file, path_column="file", label_column="kind")
    assert splits.class_names == ("x", "y")
    assert splits.train.images[:, 0, 0, 0].tolist() == [3, 4]


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    file = write(tmp_path / "all.csv", ["0.png,a"], header="file,label")
    with pytest.raises(RunError, match="line 1: has the columns file, label, not path"):
        load(file)


def test_a_number_of_classes_that_contradicts_the_labels_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "all.csv", [f"{i}.png,{'ab'[i % 2]}" for i in range(6)])
    with pytest.raises(RunError, match=r"task\.num_classes: is 3, but .* has 2 classes"):
        load(file, num_classes=3)


def test_zero_padded_names_are_told_as_names_where_a_row_has_another(tmp_path: Path) -> None:
    rows = ["a.png,001,train", "b.png,002,train", "c.png,007,test"]
    file = write(tmp_path / "padded.csv", rows, header="path,label,split")
    with pytest.raises(RunError, match=r"line 4: label '007' is not one of the 2 classes of the training rows"):
        load(file, "final", split_column="split")


def test_rows_that_leave_out_path_or_label_are_named(tmp_path: Path) -> None:
    (tmp_path / "holes.csv").write_text("path,label\na.png,\n,x\n,\nb.png,y\n")
    with pytest.raises(RunError) as refused:
        load(tmp_path / "holes.csv")
    assert refused.value.message.splitlines() == [
        "holes.csv line 2: has no label",
        "holes.csv line 3: has no path",
        "holes.csv line 4: has no path and no label",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty; its first line must name the columns"),
        ("path,label\n", "has no rows below its header"),
        ("path,label,label\na.png,1,2\n", "line 1: more than one column is called label"),
    ],
)
def test_a_file_without_rows_or_clear_columns_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "odd.csv").write_text(content)
    with pytest.raises(RunError, match=said):
        load(tmp_path / "odd.csv")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "path;label\na.png;x\n", "columns are separated by semicolons; save the file with commas"),
        (
            "a.csv",
            "path\tlabel\na.png\tx\n",
            "separated by tabs; save the file with commas, or give it the ending .tsv",
        ),
        ("a.tsv", "path,label\na.png,x\n", "separated by commas; save the file with tabs, as its ending .tsv says"),
        (
            "a.csv",
            "Path,LABEL\na.png,x\n",
            r"not path, label \(did you mean Path for path, LABEL for label\?\); name y",
        ),
        ("a.csv", 'path,label\n"a.png,x\nb.png,y\n', "line 3: this is not CSV .* quotation mark not closed"),
    ],
)
def test_the_message_about_columns_leads_to_the_cure(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(RunError, match=said) as refused:
        load(tmp_path / name)
    assert refused.value.reason == "data_corrupt"


def test_blanks_around_column_names_are_no_part_of_them(tmp_path: Path) -> None:
    file = write(tmp_path / "all.csv", [f"{i}.png, {'ab'[i % 2]}, train" for i in range(6)], "path,  label,  split")
    assert load(file, split_column="split").class_names == ("a", "b")


def test_labels_that_count_from_one_are_said_to(tmp_path: Path) -> None:
    file = write(tmp_path / "all.csv", [f"{i}.png,{i % 2 + 1}" for i in range(6)])
    with pytest.raises(RunError, match=r"the labels count from 1 \(1\.\.2\); write them from 0"):
        load(file)
    with pytest.raises(RunError, match=r"label '2' is out of range 0\.\.1\n(.*\n)*the labels seem to count from 1"):
        load(file, num_classes=2)


def test_labels_are_the_same_in_every_unicode_form(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", ["0.png,caf\u00e9", "1.png,the"])
    val = write(tmp_path / "val.csv", ["2.png,cafe\u0301"])
    assert load(train, val_path=str(val)).measured[1].labels.tolist() == [0]


def test_a_list_that_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"task\.path: .* is a folder, pipe or device, not a text file"):
        load(tmp_path)


def test_a_label_of_many_digits_is_a_name(tmp_path: Path) -> None:
    file = write(tmp_path / "all.csv", [f"{i}.png,{i % 2}{'0' * 5000}" for i in range(4)])
    assert load(file).num_classes == 2
