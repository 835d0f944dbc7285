"""From maps to a network's input: one function for numpy and for keras.ops.

Everything here is pure, has static shapes (the batch may be unknown) and uses only names that numpy
and keras.ops share, so that training, offline prediction and the served graph run the same lines.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ssfr.components.imagesets.spec import ImageSpec

Array = Any
"""A numpy array or a tensor of Keras' backend."""

_TRUNCATE_SIGMA = 4.0
_LARGEST = 1e19
"""The square of a larger float32 is infinite."""


def images(xp: Any, maps: Array, spec: ImageSpec) -> Array:
    """Turn raw maps into the input of a network.

    Parameters
    ----------
    xp
        ``numpy`` or ``keras.ops``.
    maps : (n, F, P, P)
        float32 in `spec.units`, NaN where there is no gas; or uint8 red, green, blue.
    spec
        Of the case.

    Returns
    -------
    (n, P, P, C) float32
        Standardised floats of order one (NaN has become 0, the mean); for pixel_type uint8 integers
        0..255, as in the exported PNG.
    """
    if spec.pixel_type == "uint8":
        return _eight_bit_case(xp, eight_bits(xp, composite(xp, maps, spec)), spec)
    layers = xp.stack(physical_channels(xp, maps, spec), axis=1)
    softening, mean, std = (
        np.array([[[getattr(spec.scales[name], key)]] for name in spec.channels], np.float32)
        for key in ("softening", "mean", "std")
    )
    standard = (stretched(xp, layers, spec, softening) - mean) / std
    return xp.transpose(xp.where(xp.isnan(standard), 0.0, standard), (0, 2, 3, 1))


def images_from_pictures(xp: Any, pictures: Array, spec: ImageSpec) -> Array:
    """Turn 8-bit pictures into the input of a network (only where `spec.accepts_images`).

    Parameters
    ----------
    xp
        ``numpy`` or ``keras.ops``.
    pictures : (n, P, P, 3)
        uint8 (or floats of the same values): images of a catalogue, or exported PNGs of maps.
    spec
        Of the case.

    Returns
    -------
    (n, P, P, C) float32
        As `images`.
    """
    if not spec.accepts_images:
        raise ValueError(f"case '{spec.case}' starts from float maps, not from 8-bit pictures")
    if spec.source == "images":
        return images(xp, xp.transpose(pictures, (0, 3, 1, 2)), spec)
    return _eight_bit_case(xp, xp.array(pictures, dtype="float32"), spec)


def physical_channels(xp: Any, maps: Array, spec: ImageSpec) -> list[Array]:
    """Return the case's channels after its filter, before any stretch (float path).

    A filter acts on the physical map: on a mean X with the weights w of its pixels as blur(w X)/blur(w), on
    fields that add up as blur(X). ``high_pass`` is the map minus its blur, signed.

    Returns
    -------
    list of (n, P, P) float32
        In the unit of the maps (0..1 for image catalogues); NaN where undefined.
    """
    result = []
    for name in spec.channels:
        layer, weight = _layer(xp, maps, spec, name), spec.maps.weight_of(name)
        if not spec.sigmas_px:
            blurs = []
        elif weight:
            weights = _layer(xp, maps, spec, weight)
            blurs = [_weighted_blur(xp, layer, weights, sigma) for sigma in spec.sigmas_px]
        else:
            blurs = [_blur(xp, layer, sigma) for sigma in spec.sigmas_px]
        result.append(_filtered(layer, blurs, spec))
    return result


def stretched(xp: Any, layer: Array, spec: ImageSpec, softening: float | np.ndarray) -> Array:
    """Return sign(x) asinh(|x| / softening), or x itself for image catalogues; NaN and infinity stay.

    The odd form is spelled out because a float32 asinh may lose all digits for large negative x. So is
    asinh(x) = log1p(x + x^2 / (1 + sqrt(1 + x^2))), right to some units in the last place up to 1e19
    (from there on it may be too small by ln 2): TensorFlow's own took half of the time of a prediction.
    """
    if spec.stretch == "linear":
        return layer
    scaled = layer / softening
    size = xp.abs(scaled)
    finite = xp.minimum(size, _LARGEST)
    square = finite * finite
    return xp.sign(scaled) * xp.log1p(size + square / (1.0 + xp.sqrt(1.0 + square)))


def composite(xp: Any, maps: Array, spec: ImageSpec) -> Array:
    """Return the picture of the three composite fields before clipping: Lupton's stretch (SEED 9).

    Each channel over its maximum, times 255 f(I)/I, with I the mean of the three and
    f(I) = asinh(I/beta)/asinh(1/beta); 0 where I = 0 or where there is no gas. With negative I,
    ``even`` takes f of abs(I), which flips the sign of every channel (fault 7). Pictures of an image
    catalogue are left as they are.

    Returns
    -------
    (n, P, P, 3) float32
        255 is white; unbounded.
    """
    layers = [xp.array(_raw(xp, maps, spec, name), dtype="float32") for name in spec.composite]
    if spec.source == "images":
        return xp.stack(layers, axis=-1)
    layers = [
        xp.where(xp.isnan(layer), 0.0, layer / spec.maxima[name])
        for name, layer in zip(spec.composite, layers, strict=True)
    ]
    intensity = (layers[0] + layers[1] + layers[2]) / 3.0
    size = xp.abs(intensity)
    stretched_size = xp.arcsinh(size / spec.stretch_beta) / float(np.arcsinh(1.0 / spec.stretch_beta))
    divisor = intensity if spec.stretch_negative == "even" else size
    dark = intensity == 0.0
    factor = xp.where(dark, 0.0, stretched_size / xp.where(dark, 1.0, divisor))
    return 255.0 * xp.stack([layer * factor for layer in layers], axis=-1)


def eight_bits(xp: Any, picture: Array) -> Array:
    """Return integers 0..255 as float32: clipped, then truncated as a cast to uint8 does (fault 8)."""
    return xp.floor(xp.clip(picture, 0.0, 255.0))


def _filtered(layer: Array, blurs: list[Array], spec: ImageSpec) -> Array:
    """Return what the case's filter keeps of a layer, of which `blurs` are the blurred copies."""
    if spec.filter.kind == "none":
        return layer
    if spec.filter.kind == "gaussian":
        return blurs[0]
    return (layer if spec.filter.kind == "high_pass" else blurs[0]) - blurs[-1]


def _eight_bit_case(xp: Any, picture: Array, spec: ImageSpec) -> Array:
    """Pick a case's channels out of the 8-bit picture and filter them as PIL does (faults 9 and 10)."""
    chosen = []
    for name in spec.channels:
        layer = picture[..., spec.composite.index(name)]
        blurs = [pil_gaussian_blur(xp, layer, sigma, spec.pixels) for sigma in spec.sigmas_px]
        kept = _filtered(layer, blurs, spec)
        chosen.append(xp.where(kept < 0.0, kept + 256.0, kept))
    if len(chosen) == 1:
        chosen = chosen * 3
    return xp.stack(chosen, axis=-1)


def pil_gaussian_blur(xp: Any, layer: Array, sigma_px: float, pixels: int) -> Array:
    """Blur 8-bit pixels exactly as PIL's GaussianBlur: three extended box filters a direction.

    Each pass is Gwosdek et al. (2011)'s box with fractional edges, in 24-bit fixed point, rounded to 8
    bits; edges are repeated. As in PIL, all is done in unsigned 32 bits, which the sums just fit: with
    the signed 32 bits that JAX makes of larger types they would not.

    Parameters
    ----------
    xp
        ``numpy`` or ``keras.ops``.
    layer : (n, P, P)
        Integers 0..255, as floats.
    sigma_px
        PIL's ``radius``, the standard deviation [px].
    pixels
        P.

    Returns
    -------
    (n, P, P) float32
        Integers 0..255.
    """
    radius, inner_weight, edge_weight = _extended_box(sigma_px)

    def one_pass(rows: Array) -> Array:
        first = xp.repeat(rows[:, :1], radius + 1, axis=1)
        last = xp.repeat(rows[:, -1:], radius + 1, axis=1)
        repeated = xp.concatenate([first, rows, last], axis=1)
        near = _sums_of_rows(repeated[:, 1:], 2 * radius + 1, pixels)
        far = repeated[:, :pixels] + repeated[:, 2 * radius + 2 :]
        return xp.right_shift(near * inner_weight + far * edge_weight + (1 << 23), 24)

    rows = xp.array(layer, dtype="uint32")
    for _ in range(2):
        rows = xp.transpose(rows, (0, 2, 1))
        for _ in range(3):
            rows = one_pass(rows)
    return xp.array(rows, dtype="float32")


def _sums_of_rows(rows: Array, width: int, count: int) -> Array:
    """Return `count` rows, each the sum of `width` consecutive ones: sums of 1, 2, 4, ... put together.

    Matrix products and running sums give the same numbers several times slower.
    """
    total, start, block = 0, 0, rows
    for bit in range(width.bit_length()):
        span = 1 << bit
        if bit:
            block = block[:, : -(span // 2)] + block[:, span // 2 :]
        if width & span:
            total = total + block[:, start : start + count]
            start += span
    return total


@lru_cache(maxsize=32)
def gaussian_matrix(pixels: int, sigma_px: float) -> np.ndarray:
    """Return the (P, P) float32 matrix of a Gaussian blur along one axis.

    Cut at 4 sigma, so that pixels far from any gas get a weight of exactly zero; every row sums to one,
    so that a constant map stays constant up to the edges.
    """
    distance = np.subtract.outer(np.arange(pixels), np.arange(pixels)) / sigma_px
    weights = np.where(np.abs(distance) <= _TRUNCATE_SIGMA, np.exp(-0.5 * distance**2), 0.0)
    matrix: np.ndarray = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    matrix.setflags(write=False)
    return matrix


def _extended_box(sigma_px: float) -> tuple[int, int, int]:
    """Return the radius of a box [px], and the 24-bit weights of its pixels and of the two beside it.

    Follows BoxBlur.c of PIL in single precision, since the weights are cut to integers.
    """
    single = np.float32
    sigma2 = single(sigma_px) * single(sigma_px) / single(3)
    length = single(np.sqrt(12.0 * float(sigma2) + 1.0))
    whole = single(np.floor((float(length) - 1.0) / 2.0))
    fraction = single((2 * whole + 1) * (whole * (whole + 1) - 3 * sigma2))
    fraction = single(fraction / (6 * (sigma2 - (whole + 1) * (whole + 1))))
    box = single(whole + fraction)
    radius = int(box)
    inner_weight = int(single(1 << 24) / single(box * 2 + 1))
    edge_weight = ((1 << 24) - (radius * 2 + 1) * inner_weight) // 2
    return radius, inner_weight, edge_weight


def _raw(xp: Any, maps: Array, spec: ImageSpec, name: str) -> Array:
    return maps[:, spec.fields.index(name)]


def _layer(xp: Any, maps: Array, spec: ImageSpec, name: str) -> Array:
    layer = xp.array(_raw(xp, maps, spec, name), dtype="float32")
    return layer / 255.0 if spec.source == "images" else layer


def _blur(xp: Any, layer: Array, sigma_px: float) -> Array:
    matrix = gaussian_matrix(int(layer.shape[-1]), sigma_px)
    filled = xp.where(xp.isnan(layer), 0.0, layer)
    return xp.matmul(matrix, xp.matmul(filled, np.ascontiguousarray(matrix.T)))


def _weighted_blur(xp: Any, layer: Array, weights: Array, sigma_px: float) -> Array:
    weight = xp.where(xp.isnan(layer), 0.0, weights)
    numerator = _blur(xp, layer * weight, sigma_px)
    denominator = _blur(xp, weight, sigma_px)
    defined = denominator > 0.0
    return xp.where(defined, numerator / xp.where(defined, denominator, 1.0), float("nan"))
