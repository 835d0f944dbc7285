"""What the cases of a run are: the composite, single channels, blurs, high-pass filters, bands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ssfr.components.imagesets.spec import ImageSpec


@dataclass(frozen=True)
class CaseGroups:
    """The cases of a run by what they are; within a group in the order of their scale.

    Attributes
    ----------
    specs
        Case -> how its images are made.
    unfiltered
        Cases without a filter.
    composite
        The case of several channels without a filter; None: there is none.
    channels
        Cases of one channel without a filter.
    gaussians, high_passes, bands
        Cases with a filter.
    """

    specs: Mapping[str, ImageSpec]
    unfiltered: tuple[str, ...]
    composite: str | None
    channels: tuple[str, ...]
    gaussians: tuple[str, ...]
    high_passes: tuple[str, ...]
    bands: tuple[str, ...]

    @classmethod
    def of(cls, specs: Mapping[str, ImageSpec]) -> CaseGroups:
        """Sort a run's cases."""
        unfiltered = [case for case, spec in specs.items() if spec.filter.kind == "none"]
        several = [case for case in unfiltered if len(specs[case].channels) > 1]

        def filtered(kind: str) -> tuple[str, ...]:
            chosen = [case for case, spec in specs.items() if spec.filter.kind == kind]
            return tuple(sorted(chosen, key=lambda case: specs[case].filter.sigmas))

        return cls(
            specs=specs,
            unfiltered=tuple(unfiltered),
            composite=max(several, key=lambda case: len(specs[case].channels), default=None),
            channels=tuple(case for case in unfiltered if len(specs[case].channels) == 1),
            gaussians=filtered("gaussian"),
            high_passes=filtered("high_pass"),
            bands=filtered("band"),
        )

    @property
    def main(self) -> str:
        """The composite, or in a run without one its first case."""
        return self.composite or next(iter(self.specs))

    @property
    def of_mass(self) -> str | None:
        """The single channel of gas mass, or in a run without it the first single channel."""
        mass = [case for case in self.channels if self.specs[case].channels == ("mass",)]
        return next(iter((*mass, *self.channels)), None)


def scale_label(spec: ImageSpec) -> str:
    """Return the scale of a case's filter, as 'σ = 3 px' or 'σ = 1 to 4 kpc'; '' without a filter."""
    if not spec.filter.sigmas:
        return ""
    return f"σ = {' to '.join(f'{sigma:g}' for sigma in spec.filter.sigmas)} {spec.filter.unit}"
