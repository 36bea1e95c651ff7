"""Report: figures, the rendered book, and the notebooks' stored outputs."""
