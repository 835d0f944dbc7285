"""Settings of the synthetic universe."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from ssfr.components.config.section import Positive, Section


class UniverseSettings(Section):
    """The synthetic universe's recipe (docs/universe.md)."""

    galaxies: int = Field(300, ge=1, description="merger trees that end in a galaxy inside the cuts")
    snapshots: tuple[int, ...] = Field((99, 95), min_length=1)
    seed: int = Field(1, ge=0)
    law: Literal["schmidt", "small_clumps", "mass_clumps", "temperature", "none"] = Field(
        "schmidt", description="what makes star formation out of gas"
    )
    cells_min: int = Field(10_000, ge=100, description="gas cells of the poorest galaxy")
    cells_max: int = Field(30_000, ge=100, description="gas cells of the richest galaxy; up to 1e6")
    extra_fields: bool = Field(
        False,
        description="gas cells with metallicity, magnetic field and neutral hydrogen too: a third more bytes a cell",
    )
    dark_particle_msun: Positive | None = Field(
        None, description="[Msun] mass of a dark matter particle; None: dark matter is in the catalogue alone"
    )
    chunks: int = Field(3, ge=1, description="files a snapshot is spread over")
    workers: int = Field(2, ge=1, description="processes")

    @model_validator(mode="after")
    def _cells(self) -> Self:
        if self.cells_max < self.cells_min:
            raise ValueError("cells_max is smaller than cells_min")
        if len(set(self.snapshots)) != len(self.snapshots):
            raise ValueError("snapshots: one is named twice")
        return self
