"""Cells into pixels: every backend does the same, and what it should."""

from __future__ import annotations

import math
import subprocess
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ssfr.components.projection import _kernel
from ssfr.components.projection.backends import backend
from ssfr.components.projection.field_of_view import FieldOfView

BACKENDS = ["native", "reference"]
FIELD = FieldOfView(width_kpc=16.0, depth_kpc=math.inf, pixels=16, bins=16.0)
"""One kpc a pixel, from -8 to 8."""


@pytest.fixture(params=BACKENDS)
def project(request):
    return backend(request.param).project


def cells(*positions):
    return np.array(positions, np.float32).T.reshape(3, -1)


def ones(count, fields=1):
    return np.ones((fields, count), np.float32)


def uniform(count, low=-8.0, high=8.0, seed=1):
    return np.random.default_rng(seed).uniform(low, high, (3, count)).astype(np.float32)


def test_a_cell_falls_into_the_pixel_of_its_row_y_and_column_x(project):
    maps, counts = project(cells((2.5, -5.5, 0)), np.array([[3], [4]], np.float32), FIELD)
    assert maps.shape == (2, 16, 16)
    assert maps[0, 2, 10] == 3 and maps[1, 2, 10] == 4
    assert maps.sum() == 7
    assert counts == (1, 0, 0)


def test_every_pixel_has_its_own_centre(project):
    centre = np.arange(16) - 7.5
    x, y = np.meshgrid(centre, centre)
    weight = np.arange(256, dtype=np.float32)[None]
    maps, _ = project(cells(*zip(x.ravel(), y.ravel(), 0 * y.ravel(), strict=True)), weight, FIELD)
    np.testing.assert_array_equal(maps[0], weight.reshape(16, 16))


def test_a_pixel_owns_its_low_edge_and_the_field_of_view_not_its_high_one(project):
    below = np.nextafter(np.float32(8), np.float32(0))
    maps, counts = project(
        cells((-8, -8, 0), (-7, -8, 0), (below, below, 0), (8, 0, 0), (0, 8, 0)), ones(5), FIELD
    )
    assert maps[0, 0, 0] == 1 and maps[0, 0, 1] == 1 and maps[0, 15, 15] == 1
    assert counts == (3, 2, 0)


def test_what_rounds_up_to_the_edge_stays_in_the_last_pixel(project):
    """(x - low) * (bins / width) is 256 for this x, although x is below the high edge."""
    x = np.float32(14.793768882751465)
    fov = FieldOfView(2 * np.nextafter(float(x), 15), depth_kpc=math.inf, pixels=256, bins=256.0)
    assert float(x) < fov.bounds[1] and (float(x) - fov.bounds[0]) * (256 / fov.width_kpc) == 256
    maps, counts = project(cells((x, 0, 0), (0, x, 0)), ones(2), fov)
    assert counts.used == 2 and maps[0, 128, 255] == 1 and maps[0, 255, 128] == 1


def test_the_depth_is_a_half_open_range_too(project):
    fov = FieldOfView(width_kpc=16, depth_kpc=4, pixels=16, bins=16)
    _, counts = project(cells((0, 0, -2), (0, 0, 1.9), (0, 0, 2), (0, 0, -2.1)), ones(4), fov)
    assert counts == (2, 2, 0)


def test_the_thesis_binning_leaves_the_last_rows_and_columns_empty(project):
    """0.99 x 256 = 253.44 bins are in use, and the centre is off by 1.3 pixels (row 5)."""
    fov = FieldOfView(width_kpc=60, depth_kpc=math.inf, pixels=256, bins=256 * 0.99)
    positions = uniform(200_000, -30, 30)
    maps, counts = project(positions, ones(200_000), fov)
    assert counts.used == 200_000
    assert not maps[0, 254:].any() and not maps[0, :, 254:].any()
    assert maps[0, 253].any() and maps[0, :, 253].any()
    x = positions[0].astype(np.float64)
    thesis = ((x + 30) / 60 * 0.99 * 256).astype(int)
    np.testing.assert_array_equal(maps[0].sum(axis=0), np.bincount(thesis, minlength=256))
    centre, _ = project(cells((0, 0, 0)), ones(1), fov)
    assert centre[0, 126, 126] == 1


def test_a_uniform_disc_has_its_surface_density(project):
    rng = np.random.default_rng(3)
    n, radius = 400_000, 6.0
    r, angle = radius * np.sqrt(rng.random(n)), rng.uniform(0, 2 * np.pi, n)
    positions = np.stack([r * np.cos(angle), r * np.sin(angle), rng.normal(size=n)]).astype(np.float32)
    maps, _ = project(positions, ones(n), FIELD)
    centre = np.arange(16) - 7.5
    distance = np.hypot(*np.meshgrid(centre, centre))
    expected = n / (np.pi * radius**2)
    inner = maps[0][distance < radius - 1]
    assert abs(inner.mean() / expected - 1) < 0.01
    assert (abs(inner - expected) < 5 * np.sqrt(expected)).all()
    assert not maps[0][distance > radius + 1].any()


def test_a_uniform_sphere_has_the_column_of_its_chords(project):
    rng = np.random.default_rng(4)
    n, radius = 400_000, 7.0
    direction = rng.normal(size=(3, n))
    r = radius * np.cbrt(rng.random(n))
    positions = (direction / np.linalg.norm(direction, axis=0) * r).astype(np.float32)
    maps, _ = project(positions, ones(n), FIELD)
    centre = np.arange(16) - 7.5
    distance = np.hypot(*np.meshgrid(centre, centre))
    inner = distance < radius - 1.5
    density = n / (4 / 3 * np.pi * radius**3)
    column = density * 2 * np.sqrt(radius**2 - distance[inner] ** 2)
    assert abs(maps[0][inner].sum() / column.sum() - 1) < 0.01
    assert (abs(maps[0][inner] - column) < 0.02 * column.max() + 5 * np.sqrt(column)).all()


@pytest.mark.parametrize("fields", range(1, 20))
def test_each_of_many_fields_is_summed_as_if_alone(project, fields):
    positions = uniform(500, -9, 9)
    weights = np.random.default_rng(fields).random((fields, 500), np.float32)
    maps, counts = project(positions, weights, FIELD)
    for field in range(fields):
        alone, counts_alone = project(positions, weights[field : field + 1], FIELD)
        np.testing.assert_array_equal(maps[field], alone[0])
        assert counts_alone == counts


def test_mass_is_conserved_when_one_pixel_takes_it_all(project):
    """Sums in float32 would stop growing at 2^24 times a cell's mass."""
    n = 300_000
    weights = np.full((1, n), 8.5e4, np.float32)
    weights[0, 0] = 3e13
    maps, _ = project(np.zeros((3, n), np.float32), weights, FIELD)
    assert maps[0, 8, 8] == pytest.approx(weights.astype(np.float64).sum(), rel=1e-12)


def test_a_cell_with_a_bad_number_is_counted_and_in_no_map(project):
    positions, weights = np.zeros((3, 7), np.float32), ones(7, 2)
    positions[0, 0], positions[1, 1], positions[2, 2] = np.nan, np.inf, -np.inf
    weights[0, 3], weights[1, 4] = np.nan, np.inf
    positions[0, 5] = 100
    positions[0, 0] = 100 * np.nan
    maps, counts = project(positions, weights, FIELD)
    assert counts == (1, 1, 5)
    assert (maps.sum(axis=(1, 2)) == 1).all()


def test_no_cells_give_empty_maps(project):
    maps, counts = project(np.empty((3, 0), np.float32), np.empty((2, 0), np.float32), FIELD)
    assert maps.shape == (2, 16, 16) and not maps.any()
    assert counts == (0, 0, 0)


def test_arrays_with_strides_and_other_types_are_taken_as_they_are_seen(project):
    positions, weights = uniform(1000), np.random.default_rng(2).random((3, 1000), np.float32)
    expected, _ = project(positions, weights, FIELD)
    fortran, _ = project(np.asfortranarray(positions), np.asfortranarray(weights), FIELD)
    wide = np.zeros((3, 2000), np.float32)
    wide[:, ::2] = positions
    strided, _ = project(wide[:, ::2], weights.astype(np.float64), FIELD)
    np.testing.assert_array_equal(fortran, expected)
    np.testing.assert_array_equal(strided, expected)


def test_one_pixel_takes_everything(project):
    fov = FieldOfView(width_kpc=16, depth_kpc=math.inf, pixels=1, bins=1)
    maps, counts = project(uniform(100), ones(100), fov)
    assert maps.tolist() == [[[100]]] and counts.used == 100


coordinate = st.one_of(
    st.floats(-9, 9, width=32),
    st.sampled_from(
        [-8.0, 8.0, 0.0, -0.0, 1e-45, 3e38, -3e38, math.inf, -math.inf, math.nan, 2.0**31, -(2.0**63)]
    ),
)
weight = st.one_of(st.floats(0, 1000, width=32), st.sampled_from([math.nan, math.inf, 3e38, 1e-45]))


@st.composite
def galaxies(draw):
    n, fields = draw(st.integers(0, 200)), draw(st.integers(1, 9))
    positions = draw(hnp.arrays(np.float32, (3, n), elements=coordinate))
    weights = draw(hnp.arrays(np.float32, (fields, n), elements=weight))
    pixels = draw(st.integers(1, 33))
    bins = pixels * draw(st.sampled_from([1.0, 0.99]))
    depth = draw(st.sampled_from([math.inf, 4.0, 1e-3]))
    return positions, weights, FieldOfView(16.0, depth, pixels, bins), draw(st.integers(1, 5))


@settings(max_examples=200, deadline=None)
@given(galaxies())
def test_the_kernel_agrees_with_the_reference_on_any_cells(galaxy):
    positions, weights, fov, threads = galaxy
    native, counted = backend("native").project(positions, weights, fov, threads)
    reference, expected = backend("reference").project(positions, weights, fov)
    assert counted == expected
    assert sum(counted) == positions.shape[1]
    np.testing.assert_allclose(native, reference, rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_the_same_number_of_threads_gives_the_same_bits(threads):
    positions, weights = uniform(50_001, -9, 9), np.random.default_rng(5).random((3, 50_001), np.float32)
    first, counts = backend("native").project(positions, weights, FIELD, threads)
    for _ in range(3):
        again, counts_again = backend("native").project(positions, weights, FIELD, threads)
        assert again.tobytes() == first.tobytes() and counts_again == counts
    reference, expected = backend("reference").project(positions, weights, FIELD)
    assert counts == expected
    np.testing.assert_allclose(first, reference, rtol=1e-12)


def test_more_threads_than_cells_do_no_harm():
    maps, counts = backend("native").project(cells((0.5, 0.5, 0), (1.5, 0.5, 0)), ones(2), FIELD, threads=64)
    assert counts.used == 2 and maps.sum() == 2


def test_other_threads_go_on_while_the_kernel_works():
    positions, weights = uniform(3_000_000), ones(3_000_000, 3)
    started, ticks = threading.Event(), 0
    worker = threading.Thread(
        target=lambda: (
            started.set(),
            [backend("native").project(positions, weights, FIELD) for _ in range(5)],
        )
    )
    worker.start()
    started.wait()
    while worker.is_alive():
        ticks += 1
        worker.join(0.001)
    assert ticks > 3


def call(positions=None, weights=None, maps=None, **changes):
    arguments = {
        "positions": uniform(10) if positions is None else positions,
        "weights": ones(10, 2) if weights is None else weights,
        "bounds": (-8.0, 8.0, -8.0, 8.0, -math.inf, math.inf),
        "pixels": 16,
        "bins": 16.0,
        "threads": 1,
        "maps": np.empty((2, 16, 16)) if maps is None else maps,
    } | changes
    return _kernel.project(*arguments.values())


READ_ONLY = np.empty((2, 16, 16))
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"positions": uniform(10).astype(np.float64)}, TypeError, "positions: expected float32"),
        ({"weights": ones(10, 2).astype(np.int32)}, TypeError, "weights: expected float32"),
        ({"weights": ones(10, 2).astype(">f4")}, TypeError, "weights: expected float32"),
        ({"maps": np.empty((2, 16, 16), np.float32)}, TypeError, "maps: expected float64"),
        ({"positions": b"123456789012"}, ValueError, "positions: expected 2 dimensions"),
        ({"positions": uniform(10)[:2].copy()}, ValueError, r"positions: expected shape \(3, cells\)"),
        ({"positions": uniform(10).T}, ValueError, "contiguous"),
        ({"weights": ones(10)[0]}, ValueError, "weights: expected 2 dimensions"),
        ({"weights": ones(9, 2)}, ValueError, r"weights: expected shape \(fields, 10\)"),
        ({"weights": ones(10, 2)[:0]}, ValueError, "weights: expected shape"),
        ({"weights": ones(20, 2)[:, ::2]}, ValueError, "contiguous"),
        ({"maps": np.empty((3, 16, 16))}, ValueError, r"maps: expected shape \(2, 16, 16\)"),
        ({"maps": np.empty((2, 16, 15))}, ValueError, "maps: expected shape"),
        ({"maps": READ_ONLY}, ValueError, "read-only"),
        ({"pixels": 0}, ValueError, "pixels: expected 1 to"),
        ({"pixels": 10**6}, ValueError, "pixels: expected 1 to"),
        ({"bins": 16.1}, ValueError, "bins: expected"),
        ({"bins": math.nan}, ValueError, "bins: expected"),
        ({"threads": 0}, ValueError, "threads: expected"),
        ({"threads": 10**9}, ValueError, "threads: expected"),
        ({"bounds": (8.0, -8.0, -8.0, 8.0, -1.0, 1.0)}, ValueError, "wrong in x"),
        ({"bounds": (-8.0, 8.0, -8.0, math.inf, -1.0, 1.0)}, ValueError, "wrong in y"),
        ({"bounds": (-8.0, 8.0, 0.0, 1e-320, -1.0, 1.0)}, ValueError, "wrong in y"),
        ({"bounds": (-8.0, 8.0, -8.0, 8.0, 1.0, 1.0)}, ValueError, "wrong in z"),
        ({"bounds": (-8.0, 8.0, -8.0, 8.0, math.nan, 1.0)}, ValueError, "wrong in z"),
    ],
)
def test_the_kernel_refuses_what_it_cannot_take(changes, error, says):
    with pytest.raises(error, match=says):
        call(**changes)


def test_the_kernel_refuses_maps_in_the_memory_of_its_input():
    memory = np.zeros(2 * 16 * 16)
    maps = memory.reshape(2, 16, 16)
    with pytest.raises(ValueError, match="shares memory"):
        call(weights=memory.view(np.float32)[:20].reshape(2, 10), maps=maps)


def test_the_kernel_overwrites_what_was_in_the_maps():
    maps = np.full((2, 16, 16), np.nan)
    call(maps=maps)
    assert maps.sum() == 20


def test_the_kernel_leaves_its_arguments_as_they_were():
    positions, weights = uniform(1000), ones(1000, 3)
    before = positions.copy(), weights.copy()
    backend("native").project(positions, weights, FIELD, 2)
    np.testing.assert_array_equal(positions, before[0])
    np.testing.assert_array_equal(weights, before[1])


def test_only_the_init_function_can_be_seen_from_outside():
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", _kernel.__file__], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1] for line in listed.stdout.splitlines()}
    assert {name for name in names if not name.startswith("_")} == {"PyInit__kernel"}
