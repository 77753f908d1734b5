"""The README's picture of the leaderboard."""

import re
from xml.etree import ElementTree

from perf.picture import picture

PRINTED = "\x1b[1mVTAB mini\x1b[0m  accuracy\n\n row     digits \n PACE    \x1b[1;32m45.0 ± 1.2 (3)*\x1b[0m \n"


def test_it_shows_the_printed_table_and_fetches_nothing() -> None:
    drawn = picture(PRINTED, "pace leaderboard vtab-mini")
    shown = "".join(ElementTree.fromstring(drawn).itertext()).replace("\xa0", " ")
    assert "pace leaderboard vtab-mini" in shown
    assert "45.0 ± 1.2 (3)*" in shown
    assert not re.search(r"url\(.?http|href=.http", drawn), "a picture that needs other pages is broken offline"
