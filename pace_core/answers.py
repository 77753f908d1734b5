"""The files that say what a trained model answered: predictions, classes and the confusion matrix."""

from collections.abc import Sequence
from html import escape

from torch import Tensor

from pace_core import storage
from pace_core.csv_text import csv_text
from pace_core.scores import confusion, of_each_class
from pace_core.spec.text import shown

PREDICTIONS, CLASSES, CONFUSION, PICTURE = "predictions.csv", "classes.csv", "confusion.csv", "confusion.svg"
_LABELLED = 40
"""The picture of so many classes at most has their names and numbers."""
_SIDE = 640
_LONGEST_NAME = 24


def save_answers(
    logits: Tensor, labels: Tensor, names: Sequence[str], class_names: Sequence[str], folder: str, unit: str = "image"
) -> Tensor:
    """Writes the files into the folder; returns the confusion matrix.

    `names`: of the samples, which are numbered where they have none; `unit`: what one is called. Raises RunError as
    `storage.write`.
    """
    best, predicted = logits.double().softmax(1).max(1)
    rows = zip(names or range(len(labels)), labels.tolist(), predicted.tolist(), best.tolist(), strict=True)
    said = [(name, class_names[label], class_names[answer], round(share, 6)) for name, label, answer, share in rows]
    counts = confusion(predicted, labels, len(class_names))
    classes = zip(class_names, of_each_class(counts).tolist(), strict=True)
    texts = {
        PREDICTIONS: csv_text((unit, "label", "predicted", "probability"), said),
        CLASSES: csv_text(
            ("class", f"{unit}s", "accuracy", "precision", "f1"),
            [(name, int(n), *("" if v != v else round(v, 6) for v in values)) for name, (n, *values) in classes],
        ),
        CONFUSION: csv_text(
            ("label", *class_names), [(n, *row) for n, row in zip(class_names, counts.tolist(), strict=True)]
        ),
        PICTURE: picture(counts, class_names),
    }
    for name, text in texts.items():
        storage.write(storage.join(folder, name), text.encode("utf-8", "backslashreplace"))
    return counts


def save_scores(outputs: Tensor, labels: Tensor, names: Sequence[str], folder: str) -> None:
    """Writes the score of each text beside the model's. Raises RunError as `storage.write`."""
    rows = zip(names or range(len(labels)), labels.tolist(), outputs.tolist(), strict=True)
    said = [(name, round(label, 6), round(output, 6)) for name, label, output in rows]
    text = csv_text(("text", "label", "predicted"), said)
    storage.write(storage.join(folder, PREDICTIONS), text.encode("utf-8", "backslashreplace"))


def picture(counts: Tensor, class_names: Sequence[str]) -> str:
    """Returns the confusion matrix as SVG: rows are labels, columns answers; the more of a row, the deeper the blue."""
    classes = len(class_names)
    labelled = classes <= _LABELLED
    names = [shown(name, _LONGEST_NAME) for name in class_names] if labelled else []
    left = 16 + (8 * max(map(len, names)) if names else 0)
    top, side = left + 28, _SIDE / classes
    size = 4 if classes > _LABELLED else min(13.0, side / 2.4)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + _SIDE + 16} {top + _SIDE + 16}" '
        f'font-family="sans-serif" font-size="{size:.1f}" role="img">',
        "<title>Confusion matrix</title>",
        f'<rect width="{left + _SIDE + 16}" height="{top + _SIDE + 16}" fill="#ffffff"/>',
        '<text x="16" y="18" font-size="13" fill="#59636e">rows: labels; columns: what the model answered</text>',
        f'<rect x="{left}" y="{top}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#d1d9e0"/>',
    ]
    for number, name in enumerate(names):
        middle = (number + 0.5) * side + size / 3
        parts.append(f'<text x="{left - 6}" y="{top + middle:.1f}" text-anchor="end">{escape(name)}</text>')
        place = f"{left + middle:.1f} {top - 6}"
        parts.append(f'<text transform="translate({place}) rotate(-90)">{escape(name)}</text>')
    whole = counts.sum(1).clamp(min=1)
    for row, column in counts.nonzero().tolist():
        count = int(counts[row, column])
        share = count / int(whole[row])
        x, y = left + column * side, top + row * side
        parts.append(
            f'<rect x="{x:.2f}" y="{y:.2f}" width="{side:.2f}" height="{side:.2f}" '
            f'fill="#0969da" fill-opacity="{share:.3f}"/>'
        )
        if labelled:
            colour = "#ffffff" if share > 0.5 else "#1f2328"
            at = f'x="{x + side / 2:.1f}" y="{y + side / 2 + size / 3:.1f}"'
            parts.append(f'<text {at} text-anchor="middle" fill="{colour}">{count}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
