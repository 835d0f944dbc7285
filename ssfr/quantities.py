"""Units of what the package hands out, by astropy.

astropy.units and not unyt: astropy is needed for constants and cosmology anyway, its units have the Hubble
constant (``littleh``) that masses keep under ``catalog.little_h: ignored``, and its logarithmic units
(``dex(1 / yr)``) say of a logarithm what it is the logarithm of. What unyt has beyond, the scale factor as
a part of a unit, is not needed: every length handed out is physical, and maps have their redshift.
"""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd
from astropy import units
from astropy.cosmology.units import littleh
from astropy.table import QTable
from numpy.typing import NDArray

from ssfr.components.errors import InputError

_NATURAL_LOG = re.compile(r"ln (.+)")
_LOG10 = re.compile(r"log10 (.+)")
_COLUMN_UNITS = {
    "_msun_per_yr": units.Msun / units.yr,
    "_per_yr": 1 / units.yr,
    "_msun": units.Msun,
}
"""End of a column's name in the package's tables -> unit; the longest first."""


def quantity(values: NDArray[Any], unit: str) -> Any:
    """Return values with a unit as the package's files spell it.

    Parameters
    ----------
    values
        Any shape.
    unit
        Such as "keV cm^2", "1e10 Msun/h" (h is the Hubble constant), or "log10 K".

    Returns
    -------
    Quantity
        In that unit; logarithms are a `Dex` of the unit, natural ones are converted.

    Examples
    --------
    >>> import numpy as np
    >>> quantity(np.array([1.0, 2.0]), "1e10 Msun/h").unit
    Unit("1e+10 solMass / littleh")
    >>> quantity(np.array([4.0]), "log10 K").physical
    <Quantity [10000.] K>
    """
    if found := _NATURAL_LOG.fullmatch(unit):
        return quantity(values / math.log(10.0), f"log10 {found[1]}")
    if found := _LOG10.fullmatch(unit):
        return units.Dex(values, units.dex(_unit(found[1])))
    return units.Quantity(values, _unit(unit), copy=False)


def in_unit(value: Any, unit: str) -> float:
    """Return a number in a unit; a plain number is taken to be in it already.

    Parameters
    ----------
    value
        A number, or a scalar `Quantity`.
    unit
        Wanted.

    Raises
    ------
    InputError
        A quantity of another kind.

    Examples
    --------
    >>> from astropy import units
    >>> in_unit(0.1 * units.Mpc, "kpc")
    100.0
    """
    try:
        return float(units.Quantity(value, None if hasattr(value, "unit") else unit).to_value(unit))
    except (units.UnitConversionError, TypeError, ValueError) as error:
        raise InputError(
            f"{value}: expected a number in {unit}, or a quantity of that kind ({error})"
        ) from None


def table(frame: pd.DataFrame) -> QTable:
    """Return a table of the package with units, columns without the unit in their names.

    Examples
    --------
    >>> import pandas as pd
    >>> table(pd.DataFrame({"stellar_mass_msun": [1e10], "gas_cells": [12]}))["stellar_mass"]
    <Quantity [1.e+10] solMass>
    """
    columns: dict[str, Any] = {}
    for name, values in frame.items():
        ending = next((end for end in _COLUMN_UNITS if str(name).endswith(end)), None)
        plain = values.to_numpy()
        if ending is None:
            columns[str(name)] = plain
        else:
            columns[str(name).removesuffix(ending)] = units.Quantity(plain, _COLUMN_UNITS[ending], copy=False)
    found = QTable(columns)
    for column in found.itercols():
        if column.dtype.kind == "f":
            column.info.format = ".5g"
    return found


def logarithm(values: NDArray[Any], linear_unit: str) -> Any:
    """Return values of a label, a decimal logarithm, as a `Dex` of the unit of its linear quantity.

    A unit that astropy can't read, as a user may name that of a column, is kept as its text.

    Examples
    --------
    >>> import numpy as np
    >>> logarithm(np.array([-10.5]), "yr^-1")
    <Dex [-10.5] dex(1 / yr)>
    >>> logarithm(np.array([0.5]), "solar metallicity")
    <Dex [0.5] dex(solar metallicity)>
    """
    return units.Dex(values, units.dex(units.Unit(linear_unit, parse_strict="silent")))


def _unit(text: str) -> Any:
    power_of_h = text.endswith("/h")
    unit = units.Unit(text.removesuffix("/h"))
    return unit / littleh if power_of_h else unit
