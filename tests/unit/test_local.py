"""Where galaxies come from, as the command line says it."""

import pytest

from ssfr.components.errors import InputError
from ssfr.components.simulation import MARKER
from ssfr.pipelines.local.runner import DataSource
from ssfr.pipelines.options import origin


def test_a_folder_is_a_simulation_unless_it_is_said_to_hold_images(tmp_path):
    assert DataSource.parse(str(tmp_path)) == DataSource(str(tmp_path), images=False)
    assert DataSource.parse(f"images:{tmp_path}") == DataSource(str(tmp_path), images=True)


@pytest.mark.parametrize("where", [".", "images"])
def test_pictures_are_not_taken_for_a_simulation(tmp_path, where):
    (tmp_path / where).mkdir(exist_ok=True)
    (tmp_path / where / "a.png").touch()
    with pytest.raises(InputError, match=rf"did you mean images:{tmp_path}\?"):
        DataSource.parse(str(tmp_path))
    assert DataSource.parse(f"images:{tmp_path}").images


@pytest.mark.parametrize("where", ["groups_099", "output/groups_099"])
def test_a_simulation_may_have_pictures_beside_it(tmp_path, where):
    (tmp_path / where).mkdir(parents=True)
    (tmp_path / "picture.png").touch()
    assert not DataSource.parse(str(tmp_path)).images


def test_galaxies_are_synthetic_in_a_universe_of_ours_but_pictures_beside_it_are_not_said_to_be(tmp_path):
    (tmp_path / "pictures").mkdir()
    for folder in (tmp_path, tmp_path / "pictures"):
        assert not DataSource(str(folder), images=False).synthetic
    (tmp_path / MARKER).touch()
    for folder in (tmp_path, tmp_path / "pictures"):
        assert DataSource(str(folder), images=False).synthetic
        assert not DataSource(str(folder), images=True).synthetic


@pytest.mark.parametrize(("text", "said"), [("/nowhere", "no such folder"), ("s3:x", "unknown kind of data")])
def test_what_is_not_there_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        DataSource.parse(text)


@pytest.mark.parametrize(
    ("location", "images", "called"),
    [
        ("/data/tng50", False, "tng50"),
        ("s3://ssfr/data/tng50/", False, "tng50"),
        ("s3://ssfr/data/tng50/2", False, "tng50/2"),
        ("/data/pictures", True, "image catalogue pictures"),
    ],
)
def test_data_are_called_by_their_name(location, images, called):
    assert origin("demo", location, images) == f"demo preset; data: {called}"
