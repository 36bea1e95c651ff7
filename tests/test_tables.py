"""Tables as Markdown, and how numbers and texts stand in their cells."""

import pytest

from flowcal.report.tables import (
    interval,
    listed,
    markdown_table,
    number,
    plain_text,
    point,
    probability,
    share,
    with_error,
    yes_or_no,
)


def test_a_table_has_a_header_and_rows():
    table = markdown_table(["input", "best guess"], [["X_e1", 0.323]])
    assert table == "| input | best guess |\n| --- | --- |\n| X_e1 | 0.323 |"


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (plain_text("a <b>\n{download}`x`"), r"a \<b\> \{download\}\`x\`"),
        (number(0.00123, ".1e"), "1.2e-03"),
        (number(0.0, ".1e"), "0"),
        (number(None, ".1e"), ""),
        (with_error(6.4831, 0.0021, ".3f"), "6.483 ± 0.004"),
        (interval(0.26, 0.41, ".2f"), "[0.26, 0.41]"),
        (listed([0.9, 0.85]), "0.900, 0.850"),
        (point((0.533, 0.666, 0.5)), "[0.533, 0.666, 0.500]"),
        (share(0.912), "91 %"),
        (probability(2.5e-5, 2e-7, 2.6e-5), "2.50e-05 ± 4e-07"),
        (probability(2.5e-5, None, 2.6e-5), "2.50e-05"),
        (probability(0.0, 0.0, 3e-4), "below 3.0e-04"),
        (yes_or_no(True), "yes"),
        (yes_or_no(False), "no"),
    ],
)
def test_a_cell_reads_so(made, expected):
    assert made == expected
