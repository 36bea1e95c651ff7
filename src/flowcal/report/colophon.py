"""What the book says of how it was made: a closing block on every chapter, and the minutes of all of them."""

from collections.abc import Mapping

from flowcal.provenance import Provenance
from flowcal.report.tables import markdown_table

__all__ = ["closing_block", "minutes_table"]

SHORT = 12  # hexadecimal digits of a digest, enough to tell artifacts apart
NOT_KEPT = "not kept"


def closing_block(provenance: Provenance | None) -> str:
    """A folded block in MyST Markdown, for the end of a chapter's page.

    Parameters
    ----------
    provenance : Provenance or None
        None says that the execution kept nothing of how it came about.

    Returns
    -------
    str
    """
    said = _said(provenance) if provenance else "The execution that this page shows has not kept how it was made."
    return f":::{{dropdown}} How this page was made\n:class-container: colophon\n\n{said}\n:::"


def minutes_table(executions: Mapping[str, Provenance | None]) -> str:
    """A Markdown table of executions, and of their sum.

    Parameters
    ----------
    executions : mapping of str to Provenance or None
        By a link to the chapter.

    Returns
    -------
    str
    """
    header = ["chapter", "profile", "execution [min]", "its artifacts [min]"]
    kept = [provenance for provenance in executions.values() if provenance]
    rows = [[chapter, *_times(provenance)] for chapter, provenance in executions.items()]
    total = ["**all**", "", *(_minutes(sum(map(seconds, kept))) if kept else NOT_KEPT for seconds in (_whole, _making))]
    return markdown_table(header, [*rows, total])


def _said(provenance: Provenance) -> str:
    parts = [
        f"flowcal {provenance.version}, profile `{provenance.profile}`. The execution took "
        f"{_minutes(_whole(provenance))} minutes. A digest is the first {SHORT} digits of the SHA-256 of "
        "an artifact's content."
    ]
    if provenance.made:
        rows = [
            [f"`{name}`", "–" if made.seed is None else made.seed, f"{made.wall_time_s:.1f}", _short(made.sha256)]
            for name, made in provenance.made.items()
        ]
        parts.append(markdown_table(["made here", "seed", "seconds", "digest"], rows))
    if provenance.made_from:
        rows = [[f"`{name}`", _short(digest)] for name, digest in provenance.made_from.items()]
        parts.append(markdown_table(["made from", "digest"], rows))
    return "\n\n".join(parts)


def _times(provenance: Provenance | None) -> list[str]:
    if provenance is None:
        return [NOT_KEPT] * 3
    return [f"`{provenance.profile}`", _minutes(_whole(provenance)), _minutes(_making(provenance))]


def _whole(provenance: Provenance) -> float:
    return provenance.wall_time_s


def _making(provenance: Provenance) -> float:
    return sum(made.wall_time_s for made in provenance.made.values())


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"


def _short(digest: str) -> str:
    return f"`{digest[:SHORT]}`"
