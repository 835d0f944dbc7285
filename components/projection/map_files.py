"""Files of maps: some galaxies of one snapshot in each, written completely or not at all."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py

from ssfr.components.config import Settings
from ssfr.components.identity.maps import ATTRIBUTE, AXIS_ORIENTATIONS, MapField, MapIdentity
from ssfr.components.projection.draw import GalaxyMaps
from ssfr.components.projection.fields import outside_versions
from ssfr.components.projection.layers import layers
from ssfr.components.shards import GALAXIES_A_FILE
from ssfr.components.simulation import Header
from ssfr.components.storage.artifact import atomic_file


@dataclass(frozen=True)
class Record:
    """What became of one view of a galaxy: a row of projection.csv, or, with a `reason`, of rejected.csv."""

    snapshot: int
    subhalo_id: int
    view: int = 0
    axis: str = ""
    gas_cells: int = 0
    used_cells: int = 0
    outside_cells: int = 0
    bad_cells: int = 0
    edge_cells: int = 0
    lost_mass: float = 0.0
    reason: str = ""


def file_name(snapshot: int, number: int) -> str:
    """Return the name of a snapshot's file of maps."""
    return f"maps-{snapshot:03d}-{number:03d}.h5"


def map_identity(settings: Settings) -> MapIdentity:
    """Return what the maps drawn with some settings are.

    Raises
    ------
    InputError
        The settings name a field that does not exist.
    """
    projection = settings.projection
    orientation = projection.orientation
    by_axis = orientation in AXIS_ORIENTATIONS
    drawn = layers(settings)
    versions = outside_versions([layer.name for layer in drawn])
    return MapIdentity(
        kind="maps",
        fields=tuple(
            MapField(
                name=layer.name,
                unit=layer.unit,
                reduction=layer.reduction,
                weight=layer.weight,
                version=versions.get(layer.name, ""),
            )
            for layer in drawn
        ),
        pixels=projection.pixels,
        width=projection.width,
        width_unit=projection.width_unit,
        depth=projection.depth,
        deposition=projection.deposition,
        binning=projection.binning,
        transform=projection.transform,
        gas_of=settings.gas_of,
        star_forming_gas=projection.star_forming_gas,
        entropy_density=projection.entropy_density,
        young_star_age_myr=projection.young_star_age_myr,
        axis_radius=projection.axis_radius if by_axis else None,
        min_young_stars=projection.min_young_stars if by_axis else None,
        orientation=orientation if isinstance(orientation, str) else json.dumps(orientation),
        little_h=settings.catalog.little_h,
    )


def write_maps(
    path: Path, header: Header, settings: Settings, galaxies: Iterable[tuple[int, int, GalaxyMaps | str]]
) -> list[Record]:
    """Write the maps of some galaxies of a snapshot, one galaxy in memory at a time.

    Beside `maps` (galaxy, field, y, x) stand the records of all the galaxies, those rejected too, so
    that a run that was killed need not draw what is in a finished file.

    Parameters
    ----------
    path
        Appears when all is written.
    header
        Of the snapshot.
    settings
        Of the run.
    galaxies
        Subhalo number, number of the view, and its maps, or the reason why there are none.
    """
    identity = map_identity(settings)
    fields, side = identity.fields, identity.pixels
    records: list[Record] = []
    with atomic_file(path) as part, h5py.File(part, "w") as file:
        maps = file.create_dataset(
            "maps",
            shape=(0, len(fields), side, side),
            maxshape=(GALAXIES_A_FILE * settings.projection.views, len(fields), side, side),
            dtype="f4",
            chunks=(1, len(fields), side, side),
            shuffle=True,
            compression="gzip",
            compression_opts=1,
        )
        for subhalo_id, view, drawn in galaxies:
            if isinstance(drawn, str):
                records.append(Record(header.snapshot, subhalo_id, view, reason=drawn))
                continue
            maps.resize(len(maps) + 1, axis=0)
            maps[-1] = drawn.maps
            cells = (drawn.gas_cells, *drawn.counts, drawn.edge_cells)
            records.append(Record(header.snapshot, subhalo_id, view, drawn.axis, *cells, drawn.lost_mass))
        kept = [record for record in records if not record.reason]
        for name in ("snapshot", "subhalo_id", "view"):
            file.create_dataset(name, data=[getattr(record, name) for record in kept], dtype="i8")
        file["records"] = json.dumps([asdict(record) for record in records])
        file.attrs.update(
            {
                ATTRIBUTE: identity.model_dump_json(),
                "h": header.h,
                "redshift": header.redshift,
                "version": importlib.metadata.version("ssfr"),
            }
        )
    return records


def read_records(path: Path) -> list[Record]:
    """Return what became of the galaxies of a finished file, in the order of the sample."""
    with h5py.File(path, "r") as file:
        return [Record(**record) for record in json.loads(file["records"][()])]
