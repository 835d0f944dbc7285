"""From maps to network input: the same numbers for numpy and Keras, and the thesis' 8-bit path."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import map_identity, picture_identity
from map_samples import FIELDS, physical_maps
from PIL import Image, ImageFilter
from scipy import ndimage

from ssfr.components.config import Case, Filter, PreprocessingSettings
from ssfr.components.identity.maps import IMAGE_FIELDS, MapIdentity
from ssfr.components.imagesets.spec import ChannelScale, ImageSpec
from ssfr.components.imagesets.transform import (
    composite,
    eight_bits,
    gaussian_matrix,
    images,
    images_from_pictures,
    physical_channels,
    pil_gaussian_blur,
    stretched,
)

P = 24
MAPS, PICTURES = map_identity(pixels=P), picture_identity(P)
SCALING = {
    "cases": {
        "c": {
            "entropy": {"softening": 5.0, "mean": 1.5, "std": 1.2},
            "mass": {"softening": 2e4, "mean": 1.0, "std": 1.4},
            "temperature": {"softening": 5e4, "mean": 1.5, "std": 1.1},
            **{name: {"softening": 1.0, "mean": 0.4, "std": 0.3} for name in IMAGE_FIELDS},
        }
    },
    "maxima": {"entropy": 100.0, "mass": 1e6, "temperature": 1e6},
}
EIGHT_BIT = PreprocessingSettings(pixel_type="uint8", stretch="lupton")


def spec_of(
    identity: MapIdentity = MAPS,
    preprocessing: PreprocessingSettings | None = None,
    channels: tuple[str, ...] | None = None,
    kind: str = "none",
    sigma: float = 2.0,
    scaling: dict | None = None,
    sigma_max: float | None = None,
) -> ImageSpec:
    if kind == "band" and sigma_max is None:
        sigma_max = 2 * sigma
    case = Case(
        name="c",
        channels=channels or identity.names,
        filter=Filter.model_validate({"kind": kind, "sigma": sigma, "sigma_max": sigma_max}),
    )
    return ImageSpec.build(case, preprocessing or PreprocessingSettings(), identity, scaling or SCALING)


KINDS = ("none", "gaussian", "high_pass", "band")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eight_bit", [False, True])
@pytest.mark.parametrize("source", ["maps", "pictures"])
def test_numpy_keras_and_a_traced_graph_give_the_same_images(source: str, eight_bit: bool, kind: str) -> None:
    keras = pytest.importorskip("keras")
    tf = pytest.importorskip("tensorflow")
    identity = MAPS if source == "maps" else PICTURES
    spec = spec_of(identity, EIGHT_BIT if eight_bit else None, kind=kind)
    rng = np.random.default_rng(3)
    raw = physical_maps(3, P) if source == "maps" else rng.integers(0, 256, (3, 3, P, P), dtype=np.uint8)
    signature = tf.TensorSpec((None, 3, P, P), raw.dtype)
    graph = tf.function(lambda maps: images(keras.ops, maps, spec), input_signature=[signature])

    with_numpy = images(np, raw, spec)

    assert with_numpy.shape == (3, P, P, spec.output_channels)
    assert with_numpy.dtype == np.float32
    assert np.isfinite(with_numpy).all()
    assert graph.get_concrete_function().output_shapes.as_list() == [None, P, P, 3]
    for other in (images(keras.ops, tf.constant(raw), spec), graph(raw)):
        np.testing.assert_allclose(other.numpy(), with_numpy, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    decades=st.floats(-3, 12),
    kind=st.sampled_from(KINDS),
    sigma=st.floats(1.0, 8.0),
)
def test_numpy_and_keras_agree_over_many_decades(seed: int, decades: float, kind: str, sigma: float) -> None:
    keras = pytest.importorskip("keras")
    rng = np.random.default_rng(seed)
    maps = (physical_maps(2, P, seed) * 10.0**decades * rng.choice([-1, 1], (2, 3, P, P))).astype(np.float32)
    maps[:, 1] = np.abs(maps[:, 1])
    softening = 10.0 ** (decades + 4)
    scale = {name: {"softening": softening, "mean": 0.3, "std": 2.0} for name in FIELDS}
    spec = spec_of(kind=kind, sigma=sigma, scaling={"cases": {"c": scale}, "maxima": {}})

    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(images(keras.ops, maps, spec)), images(np, maps, spec), atol=1e-5
    )


@settings(max_examples=25, deadline=None)
@given(sigma=st.floats(1.0, 24.0), value=st.floats(1e-3, 1e9))
def test_a_blur_leaves_a_constant_map_constant_up_to_the_edges(sigma: float, value: float) -> None:
    maps = np.full((1, 3, P, P), value, np.float32)
    for channel in physical_channels(np, maps, spec_of(kind="gaussian", sigma=sigma)):
        np.testing.assert_allclose(channel, value, rtol=1e-5)
    for channel in physical_channels(np, maps, spec_of(kind="high_pass", sigma=sigma)):
        np.testing.assert_allclose(channel, 0, atol=1e-5 * value)


@settings(max_examples=25, deadline=None)
@given(sigma=st.floats(1.0, 2.9), x=st.integers(24, 39), y=st.integers(24, 39))
def test_a_blur_conserves_the_mass_of_a_source_inside_the_field_of_view(sigma: float, x: int, y: int) -> None:
    maps = np.zeros((1, 3, 64, 64), np.float32)
    maps[0, 1, y, x] = 1e6
    sized = MAPS.model_copy(update={"pixels": 64})
    blurred = physical_channels(np, maps, spec_of(sized, kind="gaussian", sigma=sigma))[1][0]
    # the kernel is cut at 4 sigma < 11.6 px: no pixel that it reaches feels the edge
    assert blurred.sum() == pytest.approx(1e6, rel=1e-5)
    assert np.unravel_index(blurred.argmax(), blurred.shape) == (y, x)


def test_the_blur_is_a_gaussian_of_the_stated_width() -> None:
    matrix = gaussian_matrix(P, 2.0)
    image = np.random.default_rng(1).random((P, P))
    expected = ndimage.gaussian_filter(image, 2.0, mode="constant", truncate=4.0)
    inner = slice(8, P - 8)
    np.testing.assert_allclose((matrix @ image @ matrix.T)[inner, inner], expected[inner, inner], rtol=1e-5)


def test_a_mass_weighted_field_is_blurred_with_its_weight() -> None:
    maps = np.full((1, 3, P, P), np.nan, np.float32)
    maps[0, 1] = 0.0
    maps[0, 1, 10, 10], maps[0, 2, 10, 10] = 9e5, 1e4
    maps[0, 1, 10, 12], maps[0, 2, 10, 12] = 1e5, 1e6
    temperature = physical_channels(np, maps, spec_of(kind="gaussian", sigma=2.0))[2][0]
    # half way between the two, their kernels are equal and only the mass weighs
    assert temperature[10, 11] == pytest.approx(0.9 * 1e4 + 0.1 * 1e6, rel=1e-5)
    assert np.isnan(temperature[22, 22])


def test_a_field_with_a_weight_of_its_own_is_blurred_with_that() -> None:
    identity = map_identity(("mass", "temperature", "temperature_weight"), P, "sum")
    weighted = {"reduction": "mass_weighted_mean", "weight": "temperature_weight"}
    own = identity.fields[1].model_copy(update=weighted)
    identity = identity.model_copy(update={"fields": (identity.fields[0], own, identity.fields[2])})
    maps = np.zeros((1, 3, P, P), np.float32)
    maps[0, 0] = 7.0
    maps[0, 1, 10, 10], maps[0, 2, 10, 10] = 1e4, 9e5
    maps[0, 1, 10, 12], maps[0, 2, 10, 12] = 1e6, 1e5
    spec = spec_of(identity, channels=("temperature",), kind="gaussian", sigma=2.0)
    temperature = physical_channels(np, maps, spec)[0][0]
    assert temperature[10, 11] == pytest.approx(0.9 * 1e4 + 0.1 * 1e6, rel=1e-5)
    assert np.isnan(temperature[22, 22])


def test_a_band_is_the_difference_of_two_blurs_each_with_its_weight() -> None:
    maps = physical_maps(2, P)
    band = physical_channels(np, maps, spec_of(kind="band", sigma=1.5, sigma_max=4.0))
    narrow, wide = (physical_channels(np, maps, spec_of(kind="gaussian", sigma=s)) for s in (1.5, 4.0))
    for difference, small, large in zip(band, narrow, wide, strict=True):
        np.testing.assert_array_equal(difference, small - large)
        assert np.nanmin(difference) < 0 < np.nanmax(difference)


def test_a_band_keeps_what_lies_between_its_scales() -> None:
    """A blur damps a wave of length L by exp(-2 pi^2 sigma^2 / L^2): 2 and 6 px pass what is near 20 px."""
    x = np.arange(256)
    sized = MAPS.model_copy(update={"pixels": 256})
    spec = spec_of(sized, kind="band", sigma=2.0, sigma_max=6.0)
    middle = slice(64, 192)
    for length in (4, 20, 200):
        wave = np.cos(2 * np.pi * x / length).astype(np.float32)
        maps = np.ones((1, 3, 256, 256), np.float32)
        maps[0, 1] = 10 + wave
        seen = physical_channels(np, maps, spec)[1][0, 128, middle]
        passed = [np.exp(-2 * (np.pi * sigma / length) ** 2) for sigma in (2.0, 6.0)]
        np.testing.assert_allclose(seen, (passed[0] - passed[1]) * wave[middle], atol=2e-3)
    assert passed[0] - passed[1] < 0.02


def test_high_pass_images_bands_and_the_widest_blur_add_up_to_the_map() -> None:
    maps = physical_maps(2, P)
    filters = [("high_pass", 1.0, None), ("band", 1.0, 3.0), ("band", 3.0, 8.0), ("gaussian", 8.0, None)]
    parts = [
        physical_channels(np, maps, spec_of(kind=kind, sigma=sigma, sigma_max=sigma_max))
        for kind, sigma, sigma_max in filters
    ]
    for channel, whole in enumerate(np.moveaxis(maps, 1, 0)):
        largest = np.nanmax(np.abs(whole))
        np.testing.assert_allclose(sum(part[channel] for part in parts), whole, atol=1e-6 * largest)


def test_a_filter_comes_before_the_stretch() -> None:
    maps = np.zeros((1, 3, P, P), np.float32)
    maps[0, 1, 12, 12] = 1e8
    spec = spec_of(channels=("mass",), kind="gaussian")
    blurred = physical_channels(np, maps, spec)[0]
    scale = spec.scales["mass"]
    expected = (np.arcsinh(blurred / scale.softening) - scale.mean) / scale.std
    np.testing.assert_allclose(images(np, maps, spec)[..., 0], expected, atol=1e-5)
    # a stretch before it would leave the far wings of the source dark
    assert images(np, maps, spec)[0, 12, 17, 0] > 1


def test_high_pass_images_are_signed_and_undefined_without_gas() -> None:
    maps = physical_maps(1, P)
    entropy, mass, _ = physical_channels(np, maps, spec_of(kind="high_pass"))
    assert entropy[np.isfinite(entropy)].min() < 0 < entropy[np.isfinite(entropy)].max()
    np.testing.assert_array_equal(np.isnan(entropy), np.isnan(maps[:, 0]))
    assert np.isfinite(mass).all()


def test_a_pixel_without_gas_is_the_mean_in_temperature_and_its_own_value_in_mass() -> None:
    maps = physical_maps(1, P)
    maps[0, :, 0, 0] = [np.nan, 0.0, np.nan]
    pixel = images(np, maps, spec_of())[0, 0, 0]
    assert pixel.tolist() == [0.0, pytest.approx((0.0 - 1.0) / 1.4), 0.0]


@pytest.mark.parametrize("library", ["numpy", "keras.ops"])
@given(st.floats(-(2.0**60), 2.0**60, width=32))
def test_the_asinh_stretch_is_odd(library: str, value: float) -> None:
    spec = spec_of()
    xp = pytest.importorskip(library)
    both = np.asarray(stretched(xp, xp.array([value, -value], "float32"), spec, 3.0))
    assert both[0] == -both[1]
    assert both[0] == pytest.approx(np.arcsinh(value / 3.0), rel=1e-6, abs=1e-37)


@pytest.mark.parametrize("library", ["numpy", "keras.ops"])
def test_the_asinh_stretch_hides_nothing(library: str) -> None:
    xp = pytest.importorskip(library)
    layer = np.array([np.nan, np.inf, -np.inf, 0.0, 1e25, -1e38], np.float32)
    found = np.asarray(stretched(xp, xp.array(layer), spec_of(), 1.0))
    np.testing.assert_allclose(found, np.arcsinh(layer.astype(float)), atol=np.log(2.0) + 1e-3)
    assert np.isfinite(found).tolist() == np.isfinite(layer).tolist()


def test_the_lupton_stretch_keeps_the_colour_and_follows_its_formula() -> None:
    maps = np.zeros((1, 3, P, P), np.float32)
    maps[0, :, 5, 5] = 10.0, 2e4, 3e4
    red, green, blue = 0.1, 0.02, 0.03
    intensity = (red + green + blue) / 3
    factor = np.arcsinh(intensity / 0.001) / np.arcsinh(1 / 0.001) / intensity
    pixel = composite(np, maps, spec_of(preprocessing=EIGHT_BIT))[0, 5, 5]
    np.testing.assert_allclose(pixel, 255 * factor * np.array([red, green, blue]), rtol=1e-5)
    assert composite(np, maps, spec_of(preprocessing=EIGHT_BIT))[0, 0, 0].tolist() == [0, 0, 0]


def test_an_even_stretch_flips_the_sign_of_a_negative_intensity_and_a_signed_one_keeps_it() -> None:
    maps = np.zeros((1, 3, P, P), np.float32)
    maps[0, 0] = -50.0
    even = EIGHT_BIT.model_copy(update={"stretch_negative": "even"})
    assert composite(np, maps, spec_of(preprocessing=EIGHT_BIT))[0, 0, 0, 0] < 0
    assert composite(np, maps, spec_of(preprocessing=even))[0, 0, 0, 0] > 0


def test_eight_bits_are_clipped_and_truncated() -> None:
    assert eight_bits(np, np.array([-3.0, 0.99, 254.99, 700.0])).tolist() == [0.0, 0.0, 254.0, 255.0]


def functions_of(backend: str) -> Any:
    if backend == "jax":
        return pytest.importorskip("jax").numpy
    return np if backend == "numpy" else pytest.importorskip("keras").ops


@pytest.mark.parametrize("sigma", [1.0, 1.3, 3.0, 5.0, 7.7, 10.0, 24.0, 64.0])
@pytest.mark.parametrize("backend", ["numpy", "keras", "jax"])
def test_the_eight_bit_blur_is_that_of_pil_bit_for_bit(sigma: float, backend: str) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (64, 64), dtype=np.uint8)
    for picture in (noise, np.full_like(noise, 255)):  # white overflows first
        expected = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(sigma)))
        blurred = pil_gaussian_blur(functions_of(backend), picture[None].astype(np.float32), sigma, 64)
        np.testing.assert_array_equal(np.asarray(blurred)[0], expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eight_bit", [False, True])
def test_jax_gives_the_same_images(eight_bit: bool, kind: str) -> None:
    spec = spec_of(MAPS, EIGHT_BIT if eight_bit else None, kind=kind)
    maps = physical_maps(2, P)
    with_jax = images(functions_of("jax"), maps, spec)
    np.testing.assert_allclose(with_jax, images(np, maps, spec), atol=1e-5)


def test_eight_bit_structures_wrap_around_as_the_thesis_did() -> None:
    picture = np.random.default_rng(5).integers(0, 256, (1, P, P, 3), dtype=np.uint8)
    spec = spec_of(PICTURES, EIGHT_BIT, kind="high_pass", sigma=3.0)
    blurred = np.asarray(Image.fromarray(picture[0]).filter(ImageFilter.GaussianBlur(3.0)))
    np.testing.assert_array_equal(images_from_pictures(np, picture, spec)[0], picture[0] - blurred)


def test_an_eight_bit_band_wraps_around_too() -> None:
    picture = np.random.default_rng(5).integers(0, 256, (1, P, P, 3), dtype=np.uint8)
    spec = spec_of(PICTURES, EIGHT_BIT, kind="band", sigma=1.5, sigma_max=3.0)
    source = Image.fromarray(picture[0])
    narrow, wide = (np.asarray(source.filter(ImageFilter.GaussianBlur(sigma))) for sigma in (1.5, 3.0))
    np.testing.assert_array_equal(images_from_pictures(np, picture, spec)[0], narrow - wide)


def test_one_eight_bit_channel_is_copied_to_three_and_taken_from_the_composite() -> None:
    maps = physical_maps(2, P)
    mass = images(np, maps, spec_of(preprocessing=EIGHT_BIT, channels=("mass",)))
    whole = images(np, maps, spec_of(preprocessing=EIGHT_BIT))
    np.testing.assert_array_equal(mass, np.repeat(whole[..., 1:2], 3, axis=-1))


def test_one_float_channel_stays_one_channel() -> None:
    assert images(np, physical_maps(2, P), spec_of(channels=("mass",))).shape == (2, P, P, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_picture_leads_to_the_same_input_as_its_maps(kind: str) -> None:
    maps = physical_maps(2, P)
    spec = spec_of(preprocessing=EIGHT_BIT, channels=("temperature",), kind=kind)
    picture = eight_bits(np, composite(np, maps, spec)).astype(np.uint8)
    np.testing.assert_array_equal(images_from_pictures(np, picture, spec), images(np, maps, spec))


def test_pictures_pass_through_the_eight_bit_path_and_are_standardised_in_the_float_path() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, P, P, 3), dtype=np.uint8)
    passed = images_from_pictures(np, pictures, spec_of(PICTURES, EIGHT_BIT))
    np.testing.assert_array_equal(passed, pictures)
    floats = images_from_pictures(np, pictures, spec_of(PICTURES))
    np.testing.assert_allclose(floats, (pictures / 255.0 - 0.4) / 0.3, atol=1e-5)


def test_float_maps_do_not_accept_pictures() -> None:
    spec = spec_of()
    assert not spec.accepts_images
    with pytest.raises(ValueError, match="float maps"):
        images_from_pictures(np, np.zeros((1, P, P, 3), np.uint8), spec)


def test_additive_fields_are_blurred_without_a_weight() -> None:
    additive = map_identity(pixels=P, weighting="sum")
    maps = np.zeros((1, 3, P, P), np.float32)
    maps[0, 2, 12, 12] = 40.0
    temperature = physical_channels(np, maps, spec_of(additive, kind="gaussian", sigma=1.0))[2]
    assert temperature.sum() == pytest.approx(40.0, rel=1e-5)


def test_a_scale_is_plain_numbers() -> None:
    assert ChannelScale.model_validate_json('{"softening": 2.0, "mean": 0.0, "std": 1.0}').softening == 2.0
