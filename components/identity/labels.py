"""The identity of labels: which quantity, of which aperture and mass, with which floor."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

import pyarrow as pa
import pyarrow.parquet as pq

from ssfr.components.errors import InputError
from ssfr.components.identity.base import Identity, number

LABEL = "label"
"""Attribute of the table of labelled galaxies that holds their identity."""


class LabelIdentity(Identity):
    """What a label is: predictions of two models are comparable only if their identities are equal.

    Attributes
    ----------
    format
        Of this description.
    quantity, unit, linear_unit
        For example ``log10_ssfr``, ``log10(sSFR / yr^-1)``, and of 10^label, ``yr^-1``.
    aperture
        In which SFR and mass are measured: as `ssfr.components.config.CatalogSettings.label_aperture`, or
        "table": as whoever made the table of an image catalogue chose.
    mass
        Which mass the quantity is divided by; None: by none.
    little_h
        applied: masses in Msun; ignored: as stored, without dividing by h; "table".
    zero_sfr
        What becomes of a galaxy with a quantity of 0: its label is the floor, or it is dropped.
    floor
        Labels below are raised to it, in `unit`; None: no label is.
    """

    noun: ClassVar[str] = "labels"

    format: Literal[1] = 1
    quantity: str
    unit: str
    linear_unit: str
    aperture: str
    mass: Literal["stellar", "total"] | None
    little_h: str
    zero_sfr: Literal["floor", "drop"]
    floor: float | None

    @classmethod
    def of_table(cls, path: Path) -> Self:
        """Return the identity of the labels in a table of galaxies (``galaxies.parquet``).

        Raises
        ------
        InputError
            No such table, or one that does not state it.
        """
        way_out = "prepare the data again"
        try:
            described = pq.read_schema(path).pandas_metadata or {}
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; prepare the data first") from None
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: not a parquet file ({error}); {way_out}") from None
        return cls.parse(described.get("attributes", {}).get(LABEL), f"{path}: {LABEL}", way_out)

    def stated(self) -> dict[str, str]:
        """Return every property in words, with its unit."""
        return {
            "quantity": self.quantity,
            "unit": self.unit,
            "linear_unit": self.linear_unit or "none",
            "aperture": self.aperture,
            "mass": self.mass or "none",
            "little_h": self.little_h,
            "zero_sfr": self.zero_sfr,
            "floor": "none" if self.floor is None else number(self.floor),
        }
