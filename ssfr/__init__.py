"""What in a galaxy's gas carries information on its star formation.

Open a simulation, look at its galaxies, draw the gas of one:

>>> import ssfr
>>> simulation = ssfr.open("run/demo/universe")
>>> galaxies = simulation.galaxies(snapshot=99)
>>> maps = ssfr.draw(simulation, snapshot=99, subhalo_id=galaxies["subhalo_id"][0])
>>> maps["temperature"].shape, str(maps["temperature"].unit)
((256, 256), 'K')

What is handed out carries its unit, as an astropy ``Quantity`` or as a column of a ``QTable``
(`ssfr.quantities` says why); lengths are physical, at the redshift of the snapshot. Nothing but the
standard library is imported before it is used, and TensorFlow only by trained models.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssfr.components.errors import InputError
    from ssfr.maps import Maps, draw
    from ssfr.simulation import Simulation, open, simulate

__all__ = ["InputError", "Maps", "Simulation", "draw", "open", "simulate"]

_MODULE_OF = {
    "InputError": "ssfr.components.errors",
    "Maps": "ssfr.maps",
    "Simulation": "ssfr.simulation",
    "draw": "ssfr.maps",
    "open": "ssfr.simulation",
    "simulate": "ssfr.simulation",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'ssfr' has no attribute '{name}'")
    found = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
