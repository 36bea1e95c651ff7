"""Tables as Markdown, for chapters to show."""

from collections.abc import Iterable, Sequence

__all__ = ["markdown_table"]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table.

    Parameters
    ----------
    header : sequence of str
    rows : iterable of sequence
        Cells of any kind, printed as they are.

    Returns
    -------
    str

    Examples
    --------
    >>> print(markdown_table(["input", "best guess"], [["X_e1", 0.323]]))
    | input | best guess |
    | --- | --- |
    | X_e1 | 0.323 |
    """
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (header, ["---"] * len(header), *rows))
