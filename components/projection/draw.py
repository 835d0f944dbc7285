"""One galaxy's maps: read its cells, turn it to the line of sight, and bring its fields onto pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssfr.components.config import ProjectionSettings, Settings
from ssfr.components.errors import InputError
from ssfr.components.projection.backends import Counts
from ssfr.components.projection.columns import draw_columns
from ssfr.components.projection.field_of_view import FieldOfView, field_of_view, physical_kpc
from ssfr.components.projection.fields import MATTER, Matter, View, field_named
from ssfr.components.projection.layers import layers, particle_fields
from ssfr.components.projection.orientation import (
    Axis,
    ages_myr,
    edge_on,
    face_on,
    offsets_kpc,
    random_rotation,
    recentred,
    rotation_axis,
)
from ssfr.components.simulation import Aperture, Header, Source


class UnusableGalaxyError(Exception):
    """A galaxy that cannot be drawn is rejected; the message says why."""


class Place(NamedTuple):
    """Where a galaxy is in the box, how it moves, and how far its gas is drawn.

    Attributes
    ----------
    centre_ckpc_h
        (3,) [ckpc/h].
    velocity_km_s
        (3,) [km/s, peculiar]; zeros where no field that is drawn needs velocities.
    aperture_ckpc_h
        Gas within this radius is drawn [ckpc/h]; infinite: all that is read.
    """

    centre_ckpc_h: NDArray[np.floating[Any]]
    velocity_km_s: NDArray[np.floating[Any]]
    aperture_ckpc_h: float


@dataclass(frozen=True)
class GalaxyMaps:
    """The maps of one galaxy, and what they were made of.

    Attributes
    ----------
    maps
        (fields, pixels, pixels) float32, row y and column x, both growing, each field reduced along the line
        of sight as `layers` says: sums, or means with NaN where there is no matter.
    fields, units
        Names and units along axis 0.
    field_of_view
        Field of view, in physical kpc.
    rotation
        (3, 3) from the axes of the box to those of the map: x right, y up, z towards the observer.
    axis
        What the line of sight was taken from.
    gas_cells
        Read for this galaxy.
    counts
        Of these cells: used, outside the field of view, and bad: some field is not defined in them (they are
        used or outside all the same).
    edge_cells, lost_mass
        Used cells that are spread beyond the field of view too, and the mass that they have there, in the
        unit of the mass map; 0 if cells are drawn as points.
    """

    maps: NDArray[np.float32]
    fields: tuple[str, ...]
    units: tuple[str, ...]
    field_of_view: FieldOfView
    rotation: NDArray[np.float64]
    axis: Axis
    gas_cells: int
    counts: Counts
    edge_cells: int
    lost_mass: float


def draw_galaxy(
    source: Source,
    snapshot: int,
    subhalo_id: int,
    halo_id: int,
    settings: Settings,
    place: Place | None = None,
    view: int = 0,
) -> GalaxyMaps:
    """Draw the maps of one galaxy.

    Parameters
    ----------
    source
        Where the cells are.
    snapshot, subhalo_id
        Which galaxy.
    halo_id
        Its halo, whose gas is drawn with ``gas_of: halo``.
    settings
        Of the run; `projection`, `gas_of` and `catalog.little_h` are used.
    place
        Of the galaxy; None: as the catalogue says, which is read.
    view
        Number of the random direction (``orientation: random``).

    Raises
    ------
    UnusableGalaxyError
        No gas (in the field of view), or numbers that cannot be: the galaxy is to be rejected.
    InputError
        The source cannot be read, or lacks a field.
    """
    projection = settings.projection
    header = source.header(snapshot)
    fov = field_of_view(projection, header)
    if place is None:
        place = places(source, snapshot, np.array([subhalo_id]), settings)[0]
    if not (np.isfinite(place.centre_ckpc_h).all() and np.isfinite(place.velocity_km_s).all()):
        raise UnusableGalaxyError("the position or velocity in the catalogue is NaN or infinite")
    gas_of: Aperture = "halo" if settings.gas_of == "halo" else "subhalo"
    owner = halo_id if gas_of == "halo" else subhalo_id
    if projection.orientation == "random":
        rotation = random_rotation(projection.orientation_seed, snapshot, subhalo_id, view)
        axis: Axis = "random"
    else:
        rotation, axis = _line_of_sight(source, header, subhalo_id, (gas_of, owner), place, projection)
    little_h = settings.catalog.little_h
    seen = View(header, projection, little_h, rotation, place.centre_ckpc_h, place.velocity_km_s)
    drawn = layers(settings)
    maps: dict[str, NDArray[np.float32]] = {}
    for matter in MATTER:
        mine = [layer for layer in drawn if layer.matter == matter and not layer.is_weight]
        if not mine:
            continue
        needed = particle_fields([layer.name for layer in mine], projection)
        of_whom = (gas_of, owner) if matter == "gas" else ("subhalo", subhalo_id)
        cells, count = _sound(source, snapshot, matter, *of_whom, needed)
        if matter == "gas":
            if count == 0:
                raise UnusableGalaxyError("no gas cells")
            cells, count = _within(place, cells, header)
        columns = draw_columns(mine, cells, seen.positions_kpc(cells["position"]), seen, fov)
        if matter == "gas":
            if columns.counts.used == 0:
                raise UnusableGalaxyError("no gas cells in the field of view")
            gas_cells, counts, clipped = count, columns.counts, columns.clipped
        maps |= columns.maps
    return GalaxyMaps(
        np.stack([maps[layer.name] for layer in drawn]),
        tuple(layer.name for layer in drawn),
        tuple(layer.unit for layer in drawn),
        fov,
        rotation,
        axis,
        gas_cells,
        counts,
        clipped.cells,
        float(clipped.weights[0]),
    )


def places(
    source: Source, snapshot: int, subhalo_ids: NDArray[np.integer[Any]], settings: Settings
) -> list[Place]:
    """Return the places of some subhalos of a snapshot; only what the settings need of them is read."""
    names = [field_named(layer.name).needs for layer in layers(settings) if not layer.is_weight]
    moving = any("velocity" in needs for needs in names)
    inner = settings.gas_of == "two_half_mass_radii"
    wanted = ["position", *(["velocity"] if moving else []), *(["stellar_half_mass_radius"] if inner else [])]
    columns = source.subhalos(snapshot, wanted)
    centres = columns["position"]
    if subhalo_ids.max(initial=-1) >= len(centres):
        raise InputError(
            f"snapshot {snapshot}: no subhalo {subhalo_ids.max()}, the catalogue has {len(centres)}; "
            "was the sample selected from other data?"
        )
    velocities = columns["velocity"] if moving else np.zeros_like(centres)
    apertures = 2.0 * columns["stellar_half_mass_radius"] if inner else np.full(len(centres), np.inf)
    return [Place(centres[number], velocities[number], float(apertures[number])) for number in subhalo_ids]


def _line_of_sight(
    source: Source,
    header: Header,
    subhalo_id: int,
    gas_of: tuple[Aperture, int],
    place: Place,
    settings: ProjectionSettings,
) -> tuple[NDArray[np.float64], Axis]:
    """Return the rotation from the box's axes to the map's, and what it was taken from."""
    if not isinstance(settings.orientation, str):
        return np.array(settings.orientation), "matrix"
    radius_kpc = physical_kpc(settings.axis_radius, settings, header)
    taken_from: Axis = "young_stars"
    axis = _axis_of_young_stars(source, header, subhalo_id, place, radius_kpc, settings)
    if axis is None:
        taken_from = "gas"
        axis = _axis_of_gas(source, header, gas_of, place, radius_kpc)
    if axis is None:
        axis, taken_from = np.array([0.0, 0.0, 1.0]), "none"
    return (face_on if settings.orientation == "face_on" else edge_on)(axis), taken_from


def _axis_of_young_stars(
    source: Source,
    header: Header,
    subhalo_id: int,
    place: Place,
    radius_kpc: float,
    settings: ProjectionSettings,
) -> NDArray[np.float64] | None:
    """Return the rotation axis of the young stars, or None if they are too few."""
    needed = ["position", "velocity", "mass", "formation_scale_factor"]
    stars, count = _sound(source, header.snapshot, "stars", "subhalo", subhalo_id, needed)
    if count < settings.min_young_stars:
        return None
    positions = offsets_kpc(stars["position"], place.centre_ckpc_h, header)
    # wind has no age, and NaN is not young
    young = ages_myr(stars["formation_scale_factor"], header) < settings.young_star_age_myr
    young &= np.linalg.norm(positions, axis=1) < radius_kpc
    if young.sum() < settings.min_young_stars:
        return None
    return rotation_axis(positions[young], stars["velocity"][young], stars["mass"][young])


def _axis_of_gas(
    source: Source, header: Header, gas_of: tuple[Aperture, int], place: Place, radius_kpc: float
) -> NDArray[np.float64] | None:
    """Return the rotation axis of the gas, or None if it does not rotate."""
    needed = ["position", "velocity", "mass"]
    gas, count = _sound(source, header.snapshot, "gas", *gas_of, needed)
    if count == 0:
        return None
    positions = offsets_kpc(gas["position"], place.centre_ckpc_h, header)
    near = np.linalg.norm(positions, axis=1) < radius_kpc
    return rotation_axis(positions[near], gas["velocity"][near], gas["mass"][near])


def _within(
    place: Place, cells: dict[str, NDArray[Any]], header: Header
) -> tuple[dict[str, NDArray[Any]], int]:
    """Return the cells in the aperture of a galaxy, and how many they are."""
    if np.isinf(place.aperture_ckpc_h):
        return cells, len(cells["position"])
    offset_ckpc_h = recentred(cells["position"], place.centre_ckpc_h, header.box_ckpc_h)
    inside = np.linalg.norm(offset_ckpc_h, axis=1) < place.aperture_ckpc_h
    if not inside.any():
        raise UnusableGalaxyError("no gas cells within two stellar half-mass radii")
    return {name: values[inside] for name, values in cells.items()}, int(inside.sum())


_WORDS: dict[Matter, str] = {
    "gas": "gas cells",
    "stars": "star particles",
    "dark_matter": "dark matter particles",
}


def _sound(
    source: Source, snapshot: int, matter: Matter, of: Aperture, number: int, fields: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], int]:
    """Read particles; return their fields, and how many there are, if none of their numbers is impossible."""
    read = {"gas": source.gas, "stars": source.stars, "dark_matter": source.dark_matter}[matter]
    particles = read(snapshot, of, number, fields)
    count = int(particles["count"])
    found = {name: values for name, values in particles.items() if name != "count"}
    for name, values in found.items() if count else ():
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if name in ("mass", "density"):
            bad |= values <= 0
        if bad.any():
            raise UnusableGalaxyError(f"{bad.sum()} of {count} {_WORDS[matter]} have an impossible {name}")
    return found, count
