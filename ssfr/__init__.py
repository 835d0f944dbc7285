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
    from ssfr.components.projection.fields import Field
    from ssfr.data import open
    from ssfr.images import ImageCatalogue
    from ssfr.maps import Maps, draw
    from ssfr.models import Model, load_model
    from ssfr.report import Report, read_report
    from ssfr.serving import Client, serve
    from ssfr.simulation import Simulation, simulate
    from ssfr.study import run

__all__ = [
    "Client",
    "Field",
    "ImageCatalogue",
    "InputError",
    "Maps",
    "Model",
    "Report",
    "Simulation",
    "draw",
    "load_model",
    "open",
    "read_report",
    "run",
    "serve",
    "simulate",
]

_MODULE_OF = {
    "Client": "ssfr.serving",
    "Field": "ssfr.components.projection.fields",
    "ImageCatalogue": "ssfr.images",
    "InputError": "ssfr.components.errors",
    "Maps": "ssfr.maps",
    "Model": "ssfr.models",
    "Report": "ssfr.report",
    "Simulation": "ssfr.simulation",
    "draw": "ssfr.maps",
    "load_model": "ssfr.models",
    "open": "ssfr.data",
    "read_report": "ssfr.report",
    "run": "ssfr.study",
    "serve": "ssfr.serving",
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
