"""Names of a served model's outputs: the label, its linear value, and the two ends of the interval."""

from __future__ import annotations

from collections.abc import Iterable

ENDS = ("lower", "upper")
"""Of the interval around a prediction, in the label's own unit."""
_LOG10 = "log10_"


def linear_name(label: str) -> str:
    """Return the name under which 10^label is served, for example ``ssfr`` for ``log10_ssfr``."""
    return label.removeprefix(_LOG10)


def outputs_of(label: str) -> tuple[str, str, str, str]:
    """Return the names of the four outputs of a model that predicts `label`."""
    return (label, linear_name(label), *ENDS)


def label_among(names: Iterable[str]) -> str:
    """Return the label among the names of a model's outputs, the first by name.

    Raises
    ------
    KeyError
        There is none: it is no model of this project.
    """
    labels = sorted(name for name in names if name.startswith(_LOG10))
    if not labels:
        raise KeyError(f"{_LOG10}...")
    return labels[0]
