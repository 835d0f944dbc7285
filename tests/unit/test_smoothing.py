"""Cells spread over their own size: every backend does the same, and what the equation says."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.integrate import dblquad

from ssfr.components.projection import _kernel
from ssfr.components.projection.backends import backend
from ssfr.components.projection.field_of_view import FieldOfView

FIELD = FieldOfView(width_kpc=64.0, depth_kpc=math.inf, pixels=64, bins=64.0)
"""One kpc a pixel, from -32 to 32."""

CLOSE = 1e-3
"""Of a cell's largest pixel: what the kernel may be off in any."""


@pytest.fixture(params=["native", "reference"])
def smooth(request):
    return backend(request.param).smooth


def cells(*positions):
    return np.array(positions, np.float32).T.reshape(3, -1)


def sizes(*supports):
    return np.array(supports, np.float32)


def ones(count, fields=1):
    return np.ones((fields, count), np.float32)


def uniform(count, low=-32.0, high=32.0, seed=1):
    return np.random.default_rng(seed).uniform(low, high, (3, count)).astype(np.float32)


def wendland(distance, support):
    """Dehnen & Aly (2012), table 1: C2 in two dimensions."""
    q = np.minimum(distance / support, 1.0)
    return 7 / (np.pi * support**2) * (1 - q) ** 4 * (1 + 4 * q)


def one(smooth, x, y, support, fov=FIELD):
    maps, _, clipped = smooth(cells((x, y, 0)), sizes(support), ones(1), fov)
    return maps[0], clipped


@pytest.mark.parametrize(("x", "y", "support"), [(0.3, -0.2, 0.6), (0.5, 0.5, 1.9), (-3.8, 2.1, 7.3)])
def test_a_pixel_holds_the_integral_of_the_kernel_over_it(smooth, x, y, support):
    drawn, _ = one(smooth, x, y, support)
    for row, column in ((32, 32), (31, 32), (33, 31), (34, 28)):
        exact, _ = dblquad(
            lambda v, u: wendland(np.hypot(u - x, v - y), support),
            *(column - 32, column - 31, row - 32, row - 31),
            epsabs=1e-8,
        )
        assert drawn[row, column] == pytest.approx(exact, abs=CLOSE * drawn.max())


def test_a_wide_cell_has_the_profile_of_the_equation(smooth):
    support = 400.0
    drawn, _ = one(smooth, 3.0, -5.0, support)
    centre = np.arange(64) - 31.5
    distance = np.hypot(centre[None, :] - 3.0, centre[:, None] + 5.0)
    np.testing.assert_allclose(drawn, wendland(distance, support), rtol=1e-4)


@pytest.mark.parametrize("support", np.geomspace(1e-3, 1e3, 25))
def test_mass_is_conserved_at_every_size(smooth, support):
    for x, y in ((0.0, 0.0), (0.27, -0.48), (31.9, 3.3)):
        drawn, clipped = one(smooth, x, y, support)
        assert drawn.sum() + clipped.weights[0] == pytest.approx(1.0, abs=1e-6)
        if support < 31:
            inside, _ = one(smooth, x - 31.9 * (x > 30), y, support)
            assert inside.sum() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("support", [1e-5, 1e-4, 2e-4])
def test_cells_far_below_a_pixel_make_the_histogram(smooth, support):
    positions, weights = uniform(3000, -33, 33), np.random.default_rng(2).random((2, 3000), np.float32)
    maps, counts, clipped = smooth(positions, np.full(3000, support, np.float32), weights, FIELD)
    points, expected = backend("native").project(positions, weights, FIELD)
    np.testing.assert_array_equal(maps, points)
    assert counts == expected and clipped.cells == 0 and not clipped.weights.any()


def test_a_cell_within_a_pixel_is_all_in_it(smooth):
    drawn, _ = one(smooth, 0.5, 0.5, 0.45)
    assert drawn[32, 32] == pytest.approx(1.0, abs=1e-6)
    assert np.count_nonzero(drawn) == 1


@pytest.mark.parametrize("support", [3.0, 4.4, 9.7, 16.0, 23.0, 29.0])
def test_the_centre_of_mass_of_a_cell_stays(smooth, support):
    centre = np.arange(64) - 31.5
    for x, y in ((0.0, 0.0), (0.31, -1.77), (2.5, 0.96)):
        drawn, _ = one(smooth, x, y, support)
        assert drawn.sum(axis=0) @ centre == pytest.approx(x, abs=1e-3)
        assert drawn.sum(axis=1) @ centre == pytest.approx(y, abs=1e-3)


@pytest.mark.parametrize("support", [0.8, 1.9, 5.0, 11.0, 30.0, 200.0])
def test_a_cell_looks_the_same_from_every_side(smooth, support):
    for at in (0.0, 0.5):
        drawn, _ = one(smooth, at, at, support)
        if at:
            drawn = drawn[1:, 1:]
        for other in (drawn[::-1], drawn[:, ::-1], drawn.T):
            np.testing.assert_allclose(other, drawn, rtol=1e-4, atol=1e-7 * drawn.max())


@pytest.mark.parametrize("support", [0.5, 3.0, 8.0, 20.0, 31.0])
def test_what_is_beyond_the_field_of_view_is_lost_and_counted(smooth, support):
    _, edge = one(smooth, -32.0, 0.0, support)
    _, corner = one(smooth, 32.0, 32.0, support)
    assert edge.cells == corner.cells == 1
    assert edge.weights[0] == pytest.approx(0.5, abs=1e-5)
    assert corner.weights[0] == pytest.approx(0.75, abs=1e-5)
    drawn, near = one(smooth, 31.0 - support, 0.0, support)
    assert near == (0, 0.0) and drawn.sum() == pytest.approx(1.0, abs=1e-6)


def test_a_field_of_view_is_cut_out_of_a_larger_one(smooth):
    positions, weights = uniform(150, -50, 50), ones(150)
    support = np.random.default_rng(3).uniform(0.1, 30, 150).astype(np.float32)
    wide = FieldOfView(width_kpc=128.0, depth_kpc=math.inf, pixels=128, bins=128.0)
    whole, _, _ = smooth(positions, support, weights, wide)
    part, _, _ = smooth(positions, support, weights, FIELD)
    np.testing.assert_allclose(part[0], whole[0, 32:96, 32:96], rtol=1e-4, atol=1e-6)


def test_a_cell_is_used_if_any_part_of_it_is_in_the_field_of_view(smooth):
    positions = cells((34, 0, 0), (34, 0, 0), (0, -36, 0), (34, 34, 0), (0, 0, 0))
    _, counts, clipped = smooth(positions, sizes(1.9, 2.1, 5, 1, 1), ones(5), FIELD)
    assert counts == (3, 2, 0) and clipped.cells == 2


def test_the_depth_is_of_the_centres_of_cells(smooth):
    fov = FieldOfView(width_kpc=64, depth_kpc=4, pixels=64, bins=64)
    positions = cells((0, 0, -2), (0, 0, 1.9), (0, 0, 2), (0, 0, -2.1))
    maps, counts, _ = smooth(positions, sizes(9, 9, 9, 9), ones(4), fov)
    assert counts == (2, 2, 0)
    assert maps.sum() == pytest.approx(2, abs=1e-6)


def test_a_lattice_of_cells_makes_a_flat_map(smooth):
    at = np.arange(-20, 20) + 0.3
    x, y = (grid.ravel() for grid in np.meshgrid(at, at))
    positions = np.stack([x, y, 0 * x]).astype(np.float32)
    maps, _, _ = smooth(positions, np.full(x.size, 4.7, np.float32), ones(x.size), FIELD)
    np.testing.assert_allclose(maps[0, 20:44, 20:44], 1.0, atol=2e-3)


@pytest.mark.parametrize("fields", [1, 2, 9])
def test_each_of_many_fields_is_spread_as_if_alone(smooth, fields):
    positions, support = uniform(30, -34, 34), np.geomspace(0.05, 40, 30).astype(np.float32)
    weights = np.random.default_rng(fields).random((fields, 30), np.float32)
    maps, counts, clipped = smooth(positions, support, weights, FIELD)
    for field in range(fields):
        alone, counts_alone, lost = smooth(positions, support, weights[field : field + 1], FIELD)
        np.testing.assert_allclose(maps[field], alone[0], rtol=1e-12)
        assert counts_alone == counts and lost.weights[0] == pytest.approx(clipped.weights[field])


def test_a_cell_with_a_bad_number_or_size_is_counted_and_in_no_map(smooth):
    positions, weights, support = np.zeros((3, 10), np.float32), ones(10, 2), np.full(10, 3, np.float32)
    positions[0, 0], positions[1, 1], positions[2, 2] = np.nan, np.inf, -np.inf
    weights[0, 3], weights[1, 4] = np.nan, np.inf
    support[5:9] = np.nan, np.inf, 0, -1
    maps, counts, _ = smooth(positions, support, weights, FIELD)
    assert counts == (1, 0, 9)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), 1)


def test_no_cells_give_empty_maps(smooth):
    maps, counts, clipped = smooth(np.empty((3, 0), "f4"), np.empty(0, "f4"), np.empty((2, 0), "f4"), FIELD)
    assert maps.shape == (2, 64, 64) and not maps.any()
    assert counts == (0, 0, 0) and clipped.cells == 0 and clipped.weights.tolist() == [0, 0]


@pytest.mark.parametrize(
    "support", [*np.geomspace(0.01, 100, 21), 1.8, 1.85, 3.79, 3.81, 11.99, 12, 23.99, 24]
)
def test_the_kernel_is_close_to_the_reference_at_every_size(support):
    at = np.random.default_rng(7).uniform(-1, 1, (12, 2))
    for x, y in [(0, 0), (0.5, 0.5), (0, 0.5), *at]:
        exact, _ = one(backend("reference").smooth, x, y, support)
        drawn, _ = one(backend("native").smooth, x, y, support)
        np.testing.assert_allclose(drawn, exact, rtol=0, atol=CLOSE * exact.max())


coordinate = st.one_of(
    st.floats(-9, 9, width=32),
    st.sampled_from([-8.0, 8.0, 0.0, -0.0, 1e-45, 3e38, -3e38, math.inf, -math.inf, math.nan, 2.0**31]),
)
weight = st.one_of(st.floats(0, 1000, width=32), st.sampled_from([math.nan, math.inf, 1e-45]))
size = st.one_of(
    st.floats(0.0009765625, 64, width=32),
    st.sampled_from([0.0, -1.0, 1e-45, 1e-30, 1e-3, 1.0, 8.0, 1e4, 3e38, math.inf, math.nan]),
)


@st.composite
def galaxies(draw):
    n, fields = draw(st.integers(0, 12)), draw(st.integers(1, 4))
    positions = draw(hnp.arrays(np.float32, (3, n), elements=coordinate))
    support = draw(hnp.arrays(np.float32, n, elements=size))
    weights = draw(hnp.arrays(np.float32, (fields, n), elements=weight))
    pixels = draw(st.integers(1, 33))
    depth = draw(st.sampled_from([math.inf, 4.0, 1e-3]))
    return positions, support, weights, FieldOfView(16.0, depth, pixels, pixels), draw(st.integers(1, 5))


@settings(max_examples=200, deadline=None)
@given(galaxies())
def test_the_kernel_agrees_with_the_reference_on_any_cells(galaxy):
    positions, support, weights, fov, threads = galaxy
    native, counted, clipped = backend("native").smooth(positions, support, weights, fov, threads)
    reference, expected, beyond = backend("reference").smooth(positions, support, weights, fov)
    assert counted == expected and clipped.cells == beyond.cells
    assert sum(counted) == positions.shape[1]
    total = np.where(np.isfinite(weights), weights, 0).astype(float).sum(axis=1)
    assert (abs(native - reference).max(axis=(1, 2)) <= CLOSE * total).all()
    assert (abs(clipped.weights - beyond.weights) <= CLOSE * total).all()
    assert (native >= 0).all()
    np.testing.assert_allclose(
        native.sum(axis=(1, 2)) + clipped.weights,
        reference.sum(axis=(1, 2)) + beyond.weights,
        rtol=1e-6,
        atol=1e-30,
    )


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_the_same_number_of_threads_gives_the_same_bits(threads):
    positions, weights = uniform(5001, -34, 34), np.random.default_rng(5).random((3, 5001), np.float32)
    support = np.random.default_rng(6).lognormal(0, 1.5, 5001).astype(np.float32)
    first, counts, lost = backend("native").smooth(positions, support, weights, FIELD, threads)
    for _ in range(3):
        again, counts_again, lost_again = backend("native").smooth(
            positions, support, weights, FIELD, threads
        )
        assert again.tobytes() == first.tobytes() and counts_again == counts
        assert lost_again.weights.tobytes() == lost.weights.tobytes()
    single, expected, lost_single = backend("native").smooth(positions, support, weights, FIELD)
    assert counts == expected and lost.cells == lost_single.cells
    np.testing.assert_allclose(first, single, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(lost.weights, lost_single.weights, rtol=1e-12)


def test_arrays_with_strides_and_other_types_are_taken_as_they_are_seen(smooth):
    positions, weights = uniform(50), np.random.default_rng(2).random((3, 50), np.float32)
    support = np.linspace(0.5, 9, 50, dtype=np.float32)
    expected, _, _ = smooth(positions, support, weights, FIELD)
    wide = np.zeros((3, 100), np.float32)
    wide[:, ::2] = positions
    strided, _, _ = smooth(wide[:, ::2], support.astype(float), np.asfortranarray(weights), FIELD)
    np.testing.assert_array_equal(strided, expected)


def test_other_threads_go_on_while_the_kernel_works():
    positions, weights = uniform(100_000), ones(100_000, 3)
    support = np.full(100_000, 12, np.float32)
    started, ticks = threading.Event(), 0
    worker = threading.Thread(
        target=lambda: (started.set(), backend("native").smooth(positions, support, weights, FIELD))
    )
    worker.start()
    started.wait()
    while worker.is_alive():
        ticks += 1
        worker.join(0.001)
    assert ticks > 3


def call(**changes):
    arguments = {
        "positions": uniform(10),
        "support": ones(10)[0],
        "weights": ones(10, 2),
        "bounds": (-32.0, 32.0, -32.0, 32.0, -math.inf, math.inf),
        "pixels": 64,
        "threads": 1,
        "maps": np.full((2, 64, 64), np.nan),
        "lost": np.full(2, np.nan),
    } | changes
    return arguments, _kernel.smooth(*arguments.values())


def test_the_kernel_overwrites_what_was_in_its_results_and_leaves_its_arguments():
    arguments, counts = call()
    assert counts == (10, 0, 0, 0)
    assert arguments["maps"].sum() == pytest.approx(20) and not arguments["lost"].any()
    np.testing.assert_array_equal(arguments["positions"], uniform(10))
    np.testing.assert_array_equal(arguments["support"], 1)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"positions": uniform(10).astype(np.float64)}, TypeError, "positions: expected float32"),
        ({"positions": uniform(20)[:, ::2]}, ValueError, "contiguous"),
        ({"support": ones(10)}, ValueError, "support: expected 1 dimensions"),
        ({"support": np.ones(10)}, TypeError, "support: expected float32"),
        ({"support": ones(20)[0, ::2]}, ValueError, "contiguous"),
        ({"support": ones(9)[0]}, ValueError, r"support, lost: expected shapes \(10,\) and \(2,\)"),
        ({"lost": np.empty(3)}, ValueError, r"found \(10,\) and \(3,\)"),
        ({"lost": np.empty(2, np.float32)}, TypeError, "lost: expected float64"),
        ({"weights": ones(9, 2)}, ValueError, r"weights: expected shape \(fields, 10\)"),
        ({"maps": np.empty((2, 64, 63))}, ValueError, "maps: expected shape"),
        ({"pixels": 0}, ValueError, "pixels: expected 1 to"),
        ({"threads": 0}, ValueError, "threads: expected"),
        ({"bounds": (-32.0, 32.0, -16.0, 16.0, -1.0, 1.0)}, ValueError, "bounds: expected a square"),
        ({"bounds": (-32.0, 32.0, -32.0, 32.0, 1.0, 1.0)}, ValueError, "wrong in z"),
    ],
)
def test_the_kernel_refuses_what_it_cannot_take(changes, error, says):
    with pytest.raises(error, match=says):
        call(**changes)


def test_the_kernel_refuses_results_in_the_memory_of_its_input():
    memory = np.zeros(2 * 64 * 64)
    with pytest.raises(ValueError, match="share memory"):
        call(support=memory.view(np.float32)[:10], maps=memory.reshape(2, 64, 64))
    with pytest.raises(ValueError, match="share memory"):
        call(lost=memory[:2], maps=memory.reshape(2, 64, 64))
