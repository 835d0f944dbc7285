"""Image catalogues: a folder of galaxy images with a table of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import QTable
from numpy.typing import NDArray

from ssfr.components.config import Settings
from ssfr.components.imagesets.safe_image import inside, read_image
from ssfr.components.preprocessing.label_table import read_candidates
from ssfr.quantities import table

_COLUMNS = ("file", "stellar_mass_msun", "sfr_msun_per_yr", "ssfr_stellar_per_yr", "reason")


class ImageCatalogue:
    """Images of galaxies and their labels; opened by `ssfr.open`.

    Attributes
    ----------
    location
        Of the folder.
    settings
        `preprocessing.images` says what the table, the folder of images and the columns are called.
    """

    def __init__(self, location: Path, settings: Settings) -> None:
        self.location = location
        self.settings = settings

    def __repr__(self) -> str:
        return f"<ImageCatalogue {self.location}>"

    def galaxies(self) -> QTable:
        """Return the galaxies of the table, a row an image.

        Returns
        -------
        QTable
            file (the name of the image), stellar_mass [Msun], sfr [Msun/yr], ssfr_stellar [1/yr], and reason:
            why a row cannot be used, empty where it can.

        Raises
        ------
        InputError
            No table, or one without the columns that the settings name.

        Examples
        --------
        >>> ssfr.open("images:pictures").galaxies()["stellar_mass"]
        <Quantity [2.e+10, 3.e+10] solMass>
        """
        found = read_candidates(self.location, self.settings.preprocessing.images)
        return table(found[list(_COLUMNS)])

    def images(self, files: Sequence[str]) -> NDArray[np.uint8]:
        """Return images of one size, (n, P, P, 3) uint8: red, green, blue; row 0 is the top of an image.

        Parameters
        ----------
        files
            Their names, as in the column `file` of `galaxies`.

        Raises
        ------
        InputError
            A file that is absent, no 8-bit image, or of another size than the first.

        Examples
        --------
        >>> catalogue = ssfr.open("images:pictures")
        >>> catalogue.images(catalogue.galaxies()["file"]).shape
        (2, 64, 64, 3)
        """
        chosen = self.settings.preprocessing.images
        read: list[NDArray[np.uint8]] = []
        for name in files:
            path = inside(self.location / chosen.images, str(name))
            read.append(read_image(path, len(read[0]) if read else None, chosen.max_pixels))
        return np.stack(read)
