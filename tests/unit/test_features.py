"""Features on disk: computed once, resumed by batch, and bounded by it."""

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from training_samples import discs, write_prepared

from ssfr.components.config import Case, CompactSettings, PreprocessingSettings, TrainingSettings
from ssfr.components.errors import InputError
from ssfr.components.imagesets.reader import ImageSet, MapReader, load_spec
from ssfr.components.models.architecture import architecture_of
from ssfr.components.runtime.progress import SILENT
from ssfr.components.training.features import FeatureFile, compute_features

VALUES = np.random.default_rng(0).normal(size=(10, 2, 3)).astype(np.float32)


class Killed(BaseException):
    """Ends the work where a SIGKILL would."""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_features_come_back_as_they_were_in_their_type(tmp_path, dtype):
    file = FeatureFile(tmp_path / "features.npy", (2, 3), dtype)
    file.fill(10, 4, lambda rows: VALUES[rows])
    expected = VALUES if dtype == "float32" else VALUES.astype(ml_dtypes.bfloat16)
    found = file.open()
    assert isinstance(found, np.memmap)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("torn_bytes", [0, 7])
def test_a_killed_computation_goes_on_after_the_last_whole_batch(tmp_path, torn_bytes):
    file = FeatureFile(tmp_path / "features.npy", (2, 3), "float32")
    asked = []

    def compute(rows, stop=99):
        if rows.start >= stop:
            raise Killed
        asked.append((rows.start, rows.stop))
        return VALUES[rows]

    with pytest.raises(Killed):
        file.fill(10, 4, lambda rows: compute(rows, stop=8))
    with file.path.open("ab") as stream:
        stream.write(b"x" * torn_bytes)
    assert file.rows_done() == 8
    file.fill(10, 4, compute)
    file.fill(10, 4, compute)
    assert asked == [(0, 4), (4, 8), (8, 10)]
    np.testing.assert_array_equal(file.open(), VALUES)


@pytest.mark.parametrize("left", ["features.npy", "features.rows.json"])
def test_a_file_of_which_a_kill_left_only_half_is_computed_afresh(tmp_path, left):
    file = FeatureFile(tmp_path / "features.npy", (2, 3), "float32")
    file.fill(10, 4, lambda rows: VALUES[rows])
    for path in tmp_path.iterdir():
        if path.name != left:
            path.unlink()
    assert file.rows_done() == 0
    file.fill(10, 4, lambda rows: VALUES[rows])
    np.testing.assert_array_equal(file.open(), VALUES)


@pytest.fixture
def disc_images(tmp_path):
    maps, label = discs(6, 32)
    maps[4, 1, 3, 3] = np.inf
    maps_dir, prepared_dir = write_prepared(tmp_path, maps, label)
    galaxies = pd.read_parquet(prepared_dir / "galaxies.parquet")
    with MapReader(maps_dir, galaxies) as reader:
        spec = load_spec(Case(name="composite"), PreprocessingSettings(), maps_dir, prepared_dir)
        yield ImageSet(reader, spec), list(galaxies["galaxy"])


def test_a_galaxy_the_network_cannot_see_is_named(disc_images, tmp_path):
    image_set, names = disc_images
    settings = TrainingSettings(compact=CompactSettings(input_pixels=16))
    network = architecture_of(settings).network(image_set.spec, seed=0)
    file = FeatureFile(tmp_path / "features.npy", network.feature_shape, "float32")
    with pytest.raises(InputError, match=r"case 'composite': Snap99ID4: NaN or infinite"):
        compute_features(file, image_set, names, network, 4, SILENT)
    assert file.rows_done() == 4
