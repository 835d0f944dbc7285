"""The features of the baselines: fluxes, radial profiles, power spectra and cell counts of the maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ssfr.components.evaluation.rows import read_maps
from ssfr.components.identity.maps import MapIdentity
from ssfr.components.imagesets.reader import MapReader, in_batches
from ssfr.components.runtime.progress import Progress

Floats = npt.NDArray[np.float64]

RINGS = 12
"""Rings between the centre and the edge of the field of view; the corners are one more."""
SCALES = 12
"""Bins of the power spectrum between the field of view and two pixels; the power of the mean is one more."""

_RING_EXPONENT = 1.5  # radii (k/RINGS)^1.5: finer in the centre, where a galaxy is
_BATCH_BYTES = 48_000_000  # of float64 maps in a batch


def rings(pixels: int) -> npt.NDArray[np.int64]:
    """Return the ring of each pixel, (P, P) int64: 0 at the centre, `RINGS` in the corners."""
    offset = np.arange(pixels) - (pixels - 1) / 2
    radius = np.hypot(offset[:, None], offset[None, :]) / (pixels / 2)
    edges = (np.arange(1, RINGS + 1) / RINGS) ** _RING_EXPONENT
    return np.searchsorted(edges, radius, side="left").astype(np.int64)


def fluxes(maps: npt.NDArray[np.generic], identity: MapIdentity) -> Floats:
    """Return one number a field: its sum, or its mean with the weights of its pixels.

    Parameters
    ----------
    maps : (n, F, P, P)
        In the units of `identity`; NaN where there is no gas.
    identity
        Of the maps.

    Returns
    -------
    (n, F) float64
        In the unit of the maps; NaN for the mean of a galaxy without gas.
    """
    flat = maps.reshape(*maps.shape[:2], -1).astype(np.float64)
    total: Floats = np.nansum(flat, axis=-1)
    for place, field in enumerate(identity.fields):
        if field.weight:
            weights = flat[:, identity.names.index(field.weight)]
            weights = np.where(np.isnan(flat[:, place]), 0.0, weights)
            total[:, place] = _ratio(np.nansum(weights * flat[:, place], axis=-1), weights.sum(axis=-1))
    return total


def profiles(maps: npt.NDArray[np.generic]) -> Floats:
    """Return the mean and the scatter of every field in every ring, (n, F * (RINGS + 1) * 2).

    Parameters
    ----------
    maps : (n, F, P, P)
        NaN, where there is no gas, is left out; a ring without any gas is NaN.

    Returns
    -------
    float64
        In the unit of the maps: all means, then all standard deviations.
    """
    ring = rings(maps.shape[-1]).ravel()
    order = np.argsort(ring, kind="stable")
    present, starts, sizes = np.unique(ring[order], return_index=True, return_counts=True)
    flat = maps.reshape(*maps.shape[:2], -1)[..., order].astype(np.float64)
    gas = ~np.isnan(flat)
    count = np.add.reduceat(gas, starts, axis=-1, dtype=np.float64)
    mean = _ratio(np.add.reduceat(np.where(gas, flat, 0.0), starts, axis=-1), count)
    flat -= np.repeat(mean, sizes, axis=-1)
    scatter = np.sqrt(_ratio(np.add.reduceat(np.where(gas, flat**2, 0.0), starts, axis=-1), count))
    full = np.full((2, *maps.shape[:2], RINGS + 1), np.nan)
    full[..., present] = mean, scatter
    return np.moveaxis(full, 0, 1).reshape(len(maps), -1)


def power_spectra(maps: npt.NDArray[np.generic]) -> Floats:
    """Return the power of every field in bins of wave number, (n, F * (SCALES + 1)).

    Parameters
    ----------
    maps : (n, F, P, P)
        Where there is no gas (NaN), a field is taken to be at its mean, so that holes add no power.

    Returns
    -------
    float64
        In the squared unit of the maps, as `(1/P^4) |sum m exp(-i k x)|^2`: first that of the mean
        (k = 0), then bins of k, equally wide in its logarithm, from one wave a field of view to two
        pixels. A bin of a small map that holds no wave number is NaN.
    """
    pixels = maps.shape[-1]
    wave = np.hypot(np.fft.fftfreq(pixels)[:, None], np.fft.rfftfreq(pixels)[None, :]).ravel() * pixels
    edges = np.geomspace(0.999, pixels / 2 + 0.001, SCALES + 1)
    place = np.where(wave == 0, 0, np.searchsorted(edges, wave, side="right"))
    kept = np.flatnonzero(place <= SCALES)
    order = kept[np.argsort(place[kept], kind="stable")]
    present, starts, sizes = np.unique(place[order], return_index=True, return_counts=True)
    flat = maps.astype(np.float64)
    gas = ~np.isnan(flat)
    axes = (-2, -1)
    count = gas.sum(axis=axes, keepdims=True)
    mean = np.where(gas, flat, 0.0).sum(axis=axes, keepdims=True) / np.maximum(count, 1)
    waves = np.fft.rfft2(np.where(gas, flat, mean), norm="forward")
    power = np.abs(waves.reshape(*maps.shape[:2], -1)[..., order]) ** 2
    full = np.full((*maps.shape[:2], SCALES + 1), np.nan)
    full[..., present] = np.add.reduceat(power, starts, axis=-1) / sizes
    return full.reshape(len(maps), -1)


def extract(reader: MapReader, galaxies: pd.DataFrame, progress: Progress) -> dict[str, Floats]:
    """Read every map once and return fluxes, profiles, spectrum and cells, (n, k) float64 each.

    The count of cells is left out for catalogues that have none (images).
    """
    identity = reader.identity
    bytes_each = 8 * len(identity.fields) * identity.pixels**2
    parts: dict[str, list[Floats]] = {"fluxes": [], "profiles": [], "spectrum": []}
    with progress.task("features of the baselines", len(galaxies), "galaxies") as task:
        for rows in in_batches(np.arange(len(galaxies)), max(1, _BATCH_BYTES // bytes_each)):
            maps = read_maps(reader, galaxies, rows)
            parts["fluxes"].append(fluxes(maps, identity))
            parts["profiles"].append(profiles(maps))
            parts["spectrum"].append(power_spectra(maps))
            task.advance(len(rows))
    found = {name: np.concatenate(blocks) for name, blocks in parts.items()}
    cells = galaxies["gas_cells_used"].to_numpy(np.float64)
    if not identity.is_images and np.any(cells > 0):
        found["cells"] = cells[:, None]
    return found


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    defined = denominator > 0
    ratio: Floats = np.where(defined, numerator / np.where(defined, denominator, 1.0), np.nan)
    return ratio
