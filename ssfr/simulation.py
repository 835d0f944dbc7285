"""Simulations: open one, look at its snapshots and galaxies, or write a synthetic one."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, Literal

from astropy.table import QTable

from ssfr.choices import merged
from ssfr.components.catalog.select import select
from ssfr.components.config import CatalogSettings, Settings, UniverseSettings, settings_with
from ssfr.components.runtime.progress import SILENT
from ssfr.components.simulation import Header, Source, open_source
from ssfr.quantities import in_unit, table


class Simulation:
    """Catalogues and cells of a cosmological simulation; opened by `ssfr.open`.

    Attributes
    ----------
    location
        Of its folder.
    settings
        What is used where a method is given no argument.
    source
        Catalogues and cells as they stand in the files, in code units.
    """

    def __init__(self, location: str, source: Source, settings: Settings) -> None:
        self.location = location
        self.source = source
        self.settings = settings

    def __repr__(self) -> str:
        snapshots = ", ".join(map(str, self.snapshots))
        return f"<Simulation {self.location}: snapshots {snapshots}>"

    @property
    def snapshots(self) -> list[int]:
        """Numbers of the snapshots in the folder, latest first.

        Examples
        --------
        >>> ssfr.open("run/demo/universe").snapshots
        [99, 95]
        """
        return self.source.snapshots()

    def header(self, snapshot: int) -> Header:
        """Return redshift, h, density parameters and box of a snapshot, from its files.

        Examples
        --------
        >>> header = ssfr.open("run/demo/universe").header(95)
        >>> header.h, round(header.redshift, 3)
        (0.6774, 0.049)
        """
        return self.source.header(snapshot)

    def galaxies(
        self,
        snapshot: int,
        *,
        stellar_mass_min: Any = None,
        stellar_mass_max: Any = None,
        total_mass_max: Any = None,
        halo_mass_max: Any = None,
        keep_flagged: bool | None = None,
        label_aperture: Literal["subhalo", "two_half_mass_radii"] | None = None,
    ) -> QTable:
        """Return the galaxies of a snapshot, a row each, by subhalo_id.

        Parameters
        ----------
        snapshot
            Number of the snapshot.
        stellar_mass_min, stellar_mass_max, total_mass_max, halo_mass_max
            Cuts, as numbers in Msun or as quantities; None: as the settings say.
        keep_flagged
            Keep subhalos of no cosmological origin (SubhaloFlag = 0).
        label_aperture
            Stars and gas that the sSFR is of: of all the subhalo, or within two half-mass radii.

        Returns
        -------
        QTable
            snapshot, subhalo_id, halo_id, tree_id (of the merger tree), redshift; stellar_mass, total_mass
            and halo_mass [Msun]; sfr [Msun/yr]; ssfr_stellar and ssfr_total [1/yr], by either mass; numbers
            of gas cells and star particles.

        Raises
        ------
        InputError
            The snapshot or a field is absent, or the catalogue holds impossible values.

        Examples
        --------
        >>> simulation = ssfr.open("run/demo/universe")
        >>> galaxies = simulation.galaxies(99)
        >>> str(galaxies["ssfr_stellar"].unit)
        '1 / yr'
        >>> massive = simulation.galaxies(99, stellar_mass_min=2e10)
        >>> len(massive) < len(galaxies), bool(massive["stellar_mass"].min().value > 2e10)
        (True, True)
        """
        masses = {
            "stellar_mass_min_msun": stellar_mass_min,
            "stellar_mass_max_msun": stellar_mass_max,
            "total_mass_max_msun": total_mass_max,
            "halo_mass_max_msun": halo_mass_max,
        }
        arguments: dict[str, Any] = {
            name: in_unit(mass, "Msun") for name, mass in masses.items() if mass is not None
        }
        arguments |= {"keep_flagged": keep_flagged, "label_aperture": label_aperture}
        chosen = merged(CatalogSettings, self.settings.catalog, arguments)
        sample, _ = select(self.source, snapshot, chosen)
        return table(sample)


def simulate(
    directory: str | PathLike[str],
    *,
    galaxies: int | None = None,
    snapshots: tuple[int, ...] | None = None,
    seed: int | None = None,
    law: Literal["schmidt", "small_clumps", "mass_clumps", "temperature", "none"] | None = None,
    cells_min: int | None = None,
    cells_max: int | None = None,
) -> Simulation:
    """Write a synthetic universe in the layout of IllustrisTNG, with a chosen law of star formation.

    Parameters
    ----------
    directory
        Appears when all is written; one that holds this very universe is left as it is.
    galaxies
        Merger trees that end in a galaxy inside the cuts.
    snapshots
        Their numbers, as in TNG (99 is redshift 0).
    seed
        Of all its random numbers.
    law
        What makes stars out of gas.
    cells_min, cells_max
        Gas cells of the poorest and of the richest galaxy.

    Returns
    -------
    Simulation
        Opened.

    Raises
    ------
    InputError
        A value out of range, another thing in `directory`, or too small a disk.

    Examples
    --------
    >>> small = ssfr.simulate("small", galaxies=2, snapshots=(99,), cells_min=200, cells_max=400)
    >>> small.snapshots
    [99]
    """
    arguments = {
        "galaxies": galaxies,
        "snapshots": snapshots,
        "seed": seed,
        "law": law,
        "cells_min": cells_min,
        "cells_max": cells_max,
    }
    from ssfr.components.simulation.universe import write_universe

    write_universe(Path(directory), merged(UniverseSettings, UniverseSettings(), arguments), SILENT)
    chosen = settings_with({})
    return Simulation(str(directory), open_source(str(directory), chosen.simulation), chosen)
