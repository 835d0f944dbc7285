"""What can be predicted: the decimal logarithm of a column of the sample, or of the user's own table."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import pandas as pd

from ssfr.components.config import LabelSettings
from ssfr.components.errors import InputError, nearest
from ssfr.components.labels.served import linear_name

_OWN = "column"
"""The quantity that stands for a column which the settings name."""


@dataclass(frozen=True)
class Label:
    """A quantity whose decimal logarithm is predicted.

    Attributes
    ----------
    name
        Of the label, beginning with ``log10_``; what is left of it is the name of the linear quantity.
    symbol, unit
        Of the linear quantity, for axes and sentences; the unit is empty for a pure number.
    zero
        What is said of a galaxy whose quantity is 0.
    column
        Of sample.parquet, with the linear quantity; ``{mass}`` stands for `LabelSettings.mass`.
    floor
        [dex] Labels below are raised to it, those of a quantity of 0 among them (fault 13). Without one,
        galaxies of a quantity of 0 are dropped.
    plausible
        [dex] Lowest and highest median of a sample; outside, the unit is probably another.
    is_log10
        Whether the column holds logarithms already.
    """

    name: str
    symbol: str
    unit: str
    zero: str
    column: str
    floor: float = -math.inf
    plausible: tuple[float, float] = (-math.inf, math.inf)
    is_log10: bool = False

    @property
    def text(self) -> str:
        """The label as plain text, for example ``log10(sSFR / yr^-1)``."""
        return f"log10({self._ratio})"

    @property
    def axis(self) -> str:
        r"""The label as mathtext, for example ``$\log_{10}$(sSFR / yr$^{-1}$)``."""
        raised = re.sub(r"\^(-?\d+)", r"$^{\1}$", self._ratio)
        return rf"$\log_{{10}}$({raised})"

    @property
    def _ratio(self) -> str:
        return f"{self.symbol} / {self.unit}" if self.unit else self.symbol

    def values(self, sample: pd.DataFrame) -> pd.Series:
        """Return the column of a sample that the label is made of.

        Raises
        ------
        InputError
            There is no such column.
        """
        found = next((name for name in (f"table_{self.column}", self.column) if name in sample), None)
        if found is None:
            known = [str(name).removeprefix("table_") for name in sample.columns]
            raise InputError(
                f"label.column: no column '{self.column}' in the sample{nearest(self.column, known)}"
            )
        return pd.to_numeric(sample[found], errors="coerce").astype(float)


_LABELS = (
    Label("log10_ssfr", "sSFR", "yr^-1", "SFR = 0", "ssfr_{mass}_per_yr", -13.0, (-14.0, -7.0)),
    Label("log10_sfr", "SFR", "Msun yr^-1", "SFR = 0", "sfr_msun_per_yr", -4.0, (-5.0, 4.0)),
    Label(
        "log10_stellar_mass", "stellar mass", "Msun", "no stars", "label_stellar_mass_msun", 0.0, (5.0, 13.0)
    ),
    Label("log10_gas_fraction", "gas fraction", "", "no gas", "gas_fraction", -4.0, (-5.0, 0.0)),
)
LABELS = {label.name: label for label in _LABELS}
"""By name."""


def label_of(settings: LabelSettings) -> Label:
    """Return the label that the settings choose, with its column and its floor as they set them.

    Raises
    ------
    InputError
        There is none of that name.
    """
    if settings.quantity == _OWN:
        column = str(settings.column)
        name = "log10_" + linear_name(re.sub(r"\W+", "_", column))
        symbol, unit = linear_name(column), settings.column_unit
        label = Label(name, symbol, unit, f"{symbol} = 0", column, is_log10=settings.column_is_log10)
    elif settings.quantity in LABELS:
        label = LABELS[settings.quantity]
        label = replace(label, column=label.column.format(mass=settings.mass))
    else:
        raise InputError(
            f"preprocessing.label.quantity: no label '{settings.quantity}'"
            f"{nearest(settings.quantity, [*LABELS, _OWN])}"
        )
    return label if settings.floor is None else replace(label, floor=settings.floor)
