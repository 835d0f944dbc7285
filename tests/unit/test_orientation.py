"""Recentring, ages, rotation axis and the turn to face-on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssfr.components.projection.orientation import ages_myr, face_on, recentred, rotation_axis
from ssfr.components.simulation import Header

BOX = 35000.0
HEADER = Header(99, h=0.7, redshift=0.0, scale_factor=1.0, omega_matter=0.3, omega_lambda=0.7, box_ckpc_h=BOX)
UNIT = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 1e-3)


def ring(axis, count=400, speed=200.0, radius=5.0):
    """A ring that turns about an axis, right-handed."""
    first = np.cross(axis, [0.3, 0.5, 0.81])
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, None]
    positions = radius * (np.cos(angle) * first + np.sin(angle) * second)
    velocities = speed * (-np.sin(angle) * first + np.cos(angle) * second)
    return positions, velocities, np.ones(count)


def test_positions_go_the_short_way_through_the_periodic_box():
    centre = np.array([1.0, 34999.0, 17500.0], np.float32)
    coordinates = np.array([[34999.0, 1.0, 17500.0], [2.0, 34998.0, 17510.0]])
    np.testing.assert_allclose(recentred(coordinates, centre, BOX), [[-2, 2, 0], [1, -1, 10]])


@given(st.tuples(*[st.floats(0, BOX)] * 3), st.tuples(*[st.floats(-100, 100)] * 3))
def test_recentring_finds_a_galaxy_wherever_the_box_cuts_it(centre, offset):
    coordinates = np.mod(np.array([centre]) + offset, BOX)
    np.testing.assert_allclose(recentred(coordinates, np.array(centre), BOX)[0], offset, atol=1e-6)


def test_stars_have_the_age_of_a_flat_universe():
    """t(a) = 2/(3 H0 sqrt(OL)) asinh(sqrt(OL/Om) a^1.5), 1/H0 = 13.968 Gyr for h = 0.7."""

    def hand_gyr(a):
        return 2 / (3 * np.sqrt(0.7)) * 13.9685 * np.arcsinh(np.sqrt(0.7 / 0.3) * a**1.5)

    born = np.array([0.5, 0.99, 1.0], np.float32)
    expected = (hand_gyr(1.0) - hand_gyr(born.astype(float))) * 1e3
    np.testing.assert_allclose(ages_myr(born, HEADER), expected, rtol=1e-4, atol=0.5)
    assert ages_myr(born, HEADER)[0] == pytest.approx(7715, rel=0.01)


def test_wind_has_no_age():
    assert np.isnan(ages_myr(np.array([0.0, -0.3], np.float32), HEADER)).all()


@pytest.mark.parametrize("axis", [(0, 0, 1), (0, 0, -1), (1, 0, 0), (0.6, 0, -0.8), (-0.36, 0.48, 0.8)])
def test_a_rotating_ring_shows_its_axis(axis):
    np.testing.assert_allclose(rotation_axis(*ring(np.array(axis, float))), axis, atol=1e-12)


def test_the_axis_does_not_depend_on_origin_or_motion_of_the_whole():
    positions, velocities, masses = ring(np.array([0.6, 0.0, 0.8]))
    masses = np.random.default_rng(1).uniform(0.5, 2, len(masses))
    expected = rotation_axis(positions, velocities, masses)
    moved = rotation_axis(positions + np.array([30, -20, 5]), velocities + np.array([500, 300, -900]), masses)
    np.testing.assert_allclose(moved, expected, atol=1e-9)


def test_the_axis_does_not_depend_on_the_unit_of_velocity():
    positions, velocities, masses = ring(np.array([0.6, 0.0, 0.8]))
    np.testing.assert_allclose(
        rotation_axis(positions, velocities * np.sqrt(0.5), masses), [0.6, 0, 0.8], atol=1e-12
    )


def test_heavy_matter_decides():
    up, down = ring(np.array([0.0, 0, 1])), ring(np.array([0.0, 0, -1]))
    both = [np.concatenate(pair) for pair in zip(up, (*down[:2], 3 * down[2]), strict=True)]
    np.testing.assert_allclose(rotation_axis(*both), [0, 0, -1], atol=1e-12)


@pytest.mark.parametrize(
    ("positions", "velocities"),
    [
        (np.empty((0, 3)), np.empty((0, 3))),
        (np.array([[1.0, 2, 3]]), np.array([[4.0, 5, 6]])),
        (np.random.default_rng(1).normal(size=(50, 3)), np.full((50, 3), 7.0)),
    ],
    ids=["nothing", "one cell", "moving as one"],
)
def test_matter_that_does_not_rotate_has_no_axis(positions, velocities):
    assert rotation_axis(positions, velocities, np.ones(len(positions))) is None


@given(UNIT)
def test_the_turn_is_a_proper_rotation_that_brings_the_axis_to_z(vector):
    axis = np.array(vector) / np.linalg.norm(vector)
    rotation = face_on(axis)
    np.testing.assert_allclose(rotation @ axis, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-12)


def test_an_aligned_axis_is_left_alone_and_an_anti_aligned_one_is_turned_over():
    np.testing.assert_array_equal(face_on(np.array([0.0, 0.0, 1.0])), np.eye(3))
    over = face_on(np.array([0.0, 0.0, -1.0]))
    np.testing.assert_array_equal(over, np.diag([1.0, -1.0, -1.0]))
    assert np.linalg.det(over) == 1


@pytest.mark.parametrize("tilt", [1e-9, 1e-7, 1e-4])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_almost_aligned_axes_are_turned_just_as_well(sign, tilt):
    axis = np.array([tilt, -tilt, sign])
    axis /= np.linalg.norm(axis)
    rotation = face_on(axis)
    np.testing.assert_allclose(rotation @ axis, [0, 0, 1], atol=1e-15)
    assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-14)


def test_a_disc_seen_from_any_side_is_round_once_it_is_turned():
    positions, velocities, masses = ring(np.array([0.48, -0.36, 0.8]))
    turned = face_on(rotation_axis(positions, velocities, masses)) @ positions.T
    np.testing.assert_allclose(np.hypot(turned[0], turned[1]), 5.0, atol=1e-9)
    np.testing.assert_allclose(turned[2], 0.0, atol=1e-9)
