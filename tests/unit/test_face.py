"""The public face, `import ssfr`, beside its examples (tests/public_examples.py): what it refuses."""

import pytest

import ssfr
from ssfr.components.config import UniverseSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import SILENT
from ssfr.components.simulation.universe import write_universe


@pytest.fixture(scope="module")
def universe(tmp_path_factory):
    path = tmp_path_factory.mktemp("universe")
    recipe = UniverseSettings(galaxies=2, snapshots=(99,), cells_min=800, cells_max=1000, chunks=1, workers=1)
    write_universe(path, recipe, SILENT)
    return path


@pytest.fixture(scope="module")
def simulation(universe):
    return ssfr.open(universe)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"subhalo_id": 0.5}, r"subhalo_id: 0\.5; expected a whole number"),
        ({"subhalo_id": "x"}, "subhalo_id: 'x'; expected a whole number"),
        ({"subhalo_id": None}, "subhalo_id: None; expected a whole number"),
        ({"subhalo_id": -1}, "subhalo_id: -1; expected 0 or more"),
        ({"view": -1, "orientation": "random"}, "view: -1; expected 0 or more"),
        ({"view": 1.0, "orientation": "random"}, r"view: 1\.0; expected a whole number"),
        ({"view": 1}, 'view: 1 is a number of random directions; give orientation="random" too'),
    ],
)
def test_numbers_that_are_none_are_refused_when_a_galaxy_is_drawn(simulation, arguments, problem):
    with pytest.raises(InputError, match=problem):
        ssfr.draw(simulation, 99, **({"subhalo_id": 0} | arguments))


def test_a_simulation_of_several_views_is_drawn_from_any_direction(universe):
    several = ssfr.open(universe, {"projection.orientation": "random", "projection.views": 3})
    assert ssfr.draw(several, 99, 0, pixels=32, orientation="edge_on").name == "Snap99ID0"
    assert ssfr.draw(several, 99, 0, pixels=32, view=2).name == "Snap99ID0V2"


def test_a_folder_without_the_table_of_labels_is_no_image_catalogue(tmp_path):
    with pytest.raises(
        InputError, match=r"no table of labels labels\.csv there; preprocessing\.images\.table names"
    ):
        ssfr.open(f"images:{tmp_path}")
