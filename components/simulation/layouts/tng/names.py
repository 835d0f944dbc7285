"""TNG's own names of what `ssfr.components.simulation.source` lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

GAS, DARK, STARS = 0, 1, 4
"""Types of particles: of groups (PartType0, ...), and columns of the fields whose name ends in Type."""

TYPES = 6


class TngField(NamedTuple):
    """Where a quantity is: in a dataset, or in the column of a type of particles of one."""

    name: str
    column: int | None = None


PARTICLES: Mapping[str, TngField] = {
    "position": TngField("Coordinates"),
    "velocity": TngField("Velocities"),
    "mass": TngField("Masses"),
    "density": TngField("Density"),
    "internal_energy": TngField("InternalEnergy"),
    "electron_abundance": TngField("ElectronAbundance"),
    "neutral_hydrogen_abundance": TngField("NeutralHydrogenAbundance"),
    "star_formation_rate": TngField("StarFormationRate"),
    "metallicity": TngField("GFM_Metallicity"),
    "magnetic_field": TngField("MagneticField"),
    "formation_scale_factor": TngField("GFM_StellarFormationTime"),
}

SUBHALOS: Mapping[str, TngField] = {
    "halo": TngField("SubhaloGrNr"),
    "is_galaxy": TngField("SubhaloFlag"),
    "position": TngField("SubhaloPos"),
    "velocity": TngField("SubhaloVel"),
    "mass": TngField("SubhaloMass"),
    "stellar_mass": TngField("SubhaloMassType", STARS),
    "star_formation_rate": TngField("SubhaloSFR"),
    "gas_mass": TngField("SubhaloMassType", GAS),
    "inner_gas_mass": TngField("SubhaloMassInRadType", GAS),
    "inner_mass": TngField("SubhaloMassInRad"),
    "inner_stellar_mass": TngField("SubhaloMassInRadType", STARS),
    "inner_star_formation_rate": TngField("SubhaloSFRinRad"),
    "stellar_half_mass_radius": TngField("SubhaloHalfmassRadType", STARS),
    "gas_cells": TngField("SubhaloLenType", GAS),
    "star_particles": TngField("SubhaloLenType", STARS),
}

HALOS: Mapping[str, TngField] = {
    "mass": TngField("GroupMass"),
    "position": TngField("GroupPos"),
    "gas_cells": TngField("GroupLenType", GAS),
    "first_subhalo": TngField("GroupFirstSub"),
}

VECTORS = frozenset({"Coordinates", "Velocities", "CenterOfMass", "MagneticField"})
"""Datasets of particles with three columns."""


def stored_as(name: str, table: Mapping[str, TngField]) -> TngField:
    """Return the dataset of a quantity; a name that the table lacks is that of a dataset itself."""
    return table.get(name, TngField(name))
