"""One galaxy's face-on maps: read its cells, turn it, and bring its fields onto pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssfr.components.config import ProjectionSettings, Settings
from ssfr.components.errors import InputError
from ssfr.components.projection import gas as gas_fields
from ssfr.components.projection.backends import Counts, Overhang, backend
from ssfr.components.projection.frame import Frame, frame_of, physical_kpc
from ssfr.components.projection.orientation import Axis, ages_myr, face_on, recentred, rotation_axis
from ssfr.components.simulation import Header, Source
from ssfr.components.units import length_kpc

WEIGHT = "mass"
"""The field that is always drawn: it weights the means, and tells where there is gas."""

SUPPORT_RADII = 3.0
"""Radii of a cell over which its kernel reaches: among 1 to 4, where maps of real cells come close to the
column through their Voronoi mesh, and wider kernels gain little more (docs/deposition.md)."""

_TRANSFORMS = {"linear": np.positive, "log10": np.log10, "ln": np.log}


class UnusableGalaxyError(Exception):
    """A galaxy that cannot be drawn is set aside; the message says why."""


@dataclass(frozen=True)
class GalaxyMaps:
    """The maps of one galaxy, and what they were made of.

    Attributes
    ----------
    maps
        (fields, pixels, pixels) float32, row y and column x, both growing; mass is the sum in a pixel,
        the others are as `weighting` says: means by mass, NaN where there is no gas, or sums.
    fields, units
        Names and units along axis 0.
    frame
        What is drawn, in physical kpc.
    rotation
        (3, 3) from the axes of the box to those of the map.
    axis
        What the line of sight was taken from.
    gas_cells
        Read for this galaxy.
    counts
        Of these cells: used, outside the frame, and bad: some field is not defined in them (they are
        used or outside all the same).
    overhanging_cells, lost_mass
        Used cells that are spread beyond the frame too, and the mass that they have there, in the unit of
        the mass map; 0 if cells are drawn as points.
    """

    maps: NDArray[np.float32]
    fields: tuple[str, ...]
    units: tuple[str, ...]
    frame: Frame
    rotation: NDArray[np.float64]
    axis: Axis
    gas_cells: int
    counts: Counts
    overhanging_cells: int
    lost_mass: float


def drawn_fields(settings: ProjectionSettings) -> tuple[str, ...]:
    """Return the fields of a map, in order: those asked for, and mass."""
    return settings.fields if WEIGHT in settings.fields else (*settings.fields, WEIGHT)


def drawn_units(settings: Settings) -> tuple[str, ...]:
    """Return the units of the drawn fields."""
    projection = settings.projection
    units = {name: gas_fields.field_named(name).unit for name in drawn_fields(projection)}
    if projection.transform != "linear":
        units = {name: f"{projection.transform} {unit}" for name, unit in units.items()}
    units[WEIGHT] = "Msun" if settings.catalog.little_h == "applied" else "1e10 Msun/h"
    return tuple(units.values())


def draw_galaxy(
    source: Source,
    snapshot: int,
    subhalo_id: int,
    halo_id: int,
    settings: Settings,
    centre_ckpc_h: NDArray[np.floating[Any]] | None = None,
) -> GalaxyMaps:
    """Draw the face-on maps of one galaxy.

    Parameters
    ----------
    source
        Where the cells are.
    snapshot, subhalo_id
        Which galaxy.
    halo_id
        Its halo, whose gas is drawn with ``gas_of: halo``.
    settings
        Of the run; `projection` and `catalog.little_h` are used.
    centre_ckpc_h
        (3,) [ckpc/h] of the galaxy; None: SubhaloPos, for which the catalogue is read.

    Raises
    ------
    UnusableGalaxyError
        No gas (in the frame), or numbers that cannot be: the galaxy is to be set aside.
    InputError
        The source cannot be read, or lacks a field.
    """
    projection = settings.projection
    header = source.header(snapshot)
    frame = frame_of(projection, header)
    if centre_ckpc_h is None:
        centre_ckpc_h = centres(source, snapshot, np.array([subhalo_id]))[0]
    if not np.isfinite(centre_ckpc_h).all():
        raise UnusableGalaxyError("SubhaloPos is NaN or infinite")
    axis_radius_kpc = physical_kpc(projection.axis_radius, projection, header)
    axis = _axis_of_young_stars(source, header, subhalo_id, centre_ckpc_h, axis_radius_kpc, projection)
    needed = gas_fields.particle_fields(drawn_fields(projection), projection)
    if axis is None:
        needed.append("Velocities")
    number = subhalo_id if projection.gas_of == "subhalo" else halo_id
    cells, count = _sound(source.gas(snapshot, projection.gas_of, number, needed), "gas cells")
    if count == 0:
        raise UnusableGalaxyError("no gas cells")
    positions = _positions_kpc(cells["Coordinates"], centre_ckpc_h, header)
    taken_from: Axis = "young_stars"
    if axis is None:
        near = np.linalg.norm(positions, axis=1) < axis_radius_kpc
        axis = rotation_axis(positions[near], cells["Velocities"][near], cells["Masses"][near])
        taken_from = "gas"
    if axis is None:
        axis, taken_from = np.array([0.0, 0.0, 1.0]), "none"
    rotation = face_on(axis)
    gas = gas_fields.gas_of(header, settings)
    turned = np.einsum("ij,nj->in", rotation, positions)
    maps, counts, overhang = _maps(turned, cells, gas, frame, projection)
    if counts.used == 0:
        raise UnusableGalaxyError("no gas cells in the frame")
    fields, units = drawn_fields(projection), drawn_units(settings)
    return GalaxyMaps(
        maps,
        fields,
        units,
        frame,
        rotation,
        taken_from,
        count,
        counts,
        overhang.cells,
        float(overhang.weights[0]),
    )


def centres(
    source: Source, snapshot: int, subhalo_ids: NDArray[np.integer[Any]]
) -> NDArray[np.floating[Any]]:
    """Return SubhaloPos, (n, 3) [ckpc/h], of some subhalos of a snapshot."""
    positions = source.subhalos(snapshot, ["SubhaloPos"])["SubhaloPos"]
    if subhalo_ids.max(initial=-1) >= len(positions):
        raise InputError(
            f"snapshot {snapshot}: subhalo {subhalo_ids.max()} is asked for, the catalogue has "
            f"{len(positions)}; was the sample selected from other data?"
        )
    return positions[subhalo_ids]


def _axis_of_young_stars(
    source: Source,
    header: Header,
    subhalo_id: int,
    centre_ckpc_h: NDArray[np.floating[Any]],
    radius_kpc: float,
    settings: ProjectionSettings,
) -> NDArray[np.float64] | None:
    """Return the rotation axis of the young stars, or None if they are too few."""
    needed = ["Coordinates", "Velocities", "Masses", "GFM_StellarFormationTime"]
    stars, count = _sound(source.stars(header.snapshot, "subhalo", subhalo_id, needed), "star particles")
    if count < settings.min_young_stars:
        return None
    positions = _positions_kpc(stars["Coordinates"], centre_ckpc_h, header)
    # wind has no age, and NaN is not young
    young = ages_myr(stars["GFM_StellarFormationTime"], header) < settings.young_star_age_myr
    young &= np.linalg.norm(positions, axis=1) < radius_kpc
    if young.sum() < settings.min_young_stars:
        return None
    return rotation_axis(positions[young], stars["Velocities"][young], stars["Masses"][young])


def _positions_kpc(
    coordinates: NDArray[Any], centre_ckpc_h: NDArray[Any], header: Header
) -> NDArray[np.float64]:
    offset_ckpc_h = recentred(coordinates, centre_ckpc_h, header.box_ckpc_h)
    return offset_ckpc_h * length_kpc(1.0, header.h, header.redshift)


def _sound(particles: dict[str, Any], what: str) -> tuple[dict[str, NDArray[Any]], int]:
    """Return the fields of particles, and how many there are, if none of their numbers is impossible."""
    count = int(particles["count"])
    fields = {name: values for name, values in particles.items() if name != "count"}
    for name, values in fields.items() if count else ():
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if name in ("Masses", "Density"):
            bad |= values <= 0
        if bad.any():
            raise UnusableGalaxyError(f"{bad.sum()} of {count} {what} have an impossible {name}")
    return fields, count


def _maps(
    positions_kpc: NDArray[np.float64],
    cells: Mapping[str, NDArray[Any]],
    gas: gas_fields.Gas,
    frame: Frame,
    settings: ProjectionSettings,
) -> tuple[NDArray[np.float32], Counts, Overhang]:
    """Bring the cells of a turned galaxy onto maps, and make means of the sums where they are asked for.

    A mean is sum(m X W) / sum(m W) over the cells, where W is the share of a cell that is in the pixel.
    All is drawn in one pass. A field that is not defined in some cells (star-forming gas that is masked,
    no electrons) brings its own weight map: the mass of the cells in which it is.
    """
    mass = gas_fields.mass(cells, gas)
    mean = settings.weighting == "mass_weighted_mean"
    weights = [mass]
    rows: list[tuple[int, int]] = []
    bad = np.zeros(len(mass), bool)
    masked = gas_fields.left_out(cells, gas)
    for name in drawn_fields(settings):
        if name == WEIGHT:
            rows.append((0, 0))
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            values = _TRANSFORMS[settings.transform](gas_fields.field_named(name).compute(cells, gas))
        defined = np.isfinite(values)
        bad |= ~(defined | masked)
        rows.append((len(weights), 0 if defined.all() else len(weights) + 1))
        weights.append(np.where(defined, values * mass if mean else values, 0.0))
        if not defined.all():
            weights.append(np.where(defined, mass, 0.0))
    at, stacked = positions_kpc.astype(np.float32), np.stack(weights, dtype=np.float32, casting="same_kind")
    drawn_by, overhang = backend(settings.backend), Overhang(0, np.zeros(len(weights)))
    if settings.deposition == "smoothed":
        support_kpc = (SUPPORT_RADII * gas_fields.radius(cells, gas)).astype(np.float32)
        sums, counts, overhang = drawn_by.smooth(at, support_kpc, stacked, frame, settings.threads)
    else:
        sums, counts = drawn_by.project(at, stacked, frame, settings.threads)
    maps = np.empty((len(rows), frame.pixels, frame.pixels), np.float32)
    for drawn, (numerator, weight) in zip(maps, rows, strict=True):
        drawn[:] = sums[numerator]
        if mean and numerator:
            drawn[:] = np.nan
            np.divide(sums[numerator], sums[weight], out=drawn, where=sums[weight] > 0, casting="same_kind")
    return maps, counts._replace(bad=int(bad.sum())), overhang
