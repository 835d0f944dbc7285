"""The thesis' files: what we write is what is read as an input, and what its scripts expect."""

import numpy as np
import pytest
from evaluation_samples import settings
from PIL import Image
from report_samples import THESIS_CASES, whole, write_maps

from ssfr.components.imagesets.reader import MapReader
from ssfr.components.preprocessing.label_table import read_candidates
from ssfr.components.preprocessing.safe_pickle import load_arrays
from ssfr.components.report import page, thesis_export


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "png"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(folder / "Snap99ID0.png")
    return folder


def test_yvalues_are_true_and_predicted_log10_of_1e15_ssfr(tmp_path):
    found = whole(trees=60)
    folder = thesis_export.write(tmp_path, found, None)
    for case in found.models:
        values = np.load(folder / case / "YValues.npy", allow_pickle=False)
        own = found.predicted(case, "test")
        assert values.shape == (2, len(own))
        np.testing.assert_allclose(values[0], np.log10(1e15 * 10.0 ** own["label"]), rtol=1e-12)
        np.testing.assert_array_equal(values[1], own["predicted"] + 15.0)
        assert (folder / case / "galaxies.txt").read_text().split() == list(own["galaxy"])


def test_the_lists_have_an_array_a_snapshot_from_99_down(tmp_path):
    found = whole(trees=60)
    folder = thesis_export.write(tmp_path, found, None)
    ssfr, ids = (load_arrays(folder / name) for name in ("allsfr.pkl", "valid.pkl"))
    assert [len(part) for part in ids] == [len(part) for part in ssfr]
    assert [len(part) > 0 for part in ids] == [True, False, False, False, True]  # 99 and 95
    own = found.galaxies[found.galaxies["snapshot"] == 95]
    np.testing.assert_array_equal(ids[4], own["subhalo_id"])
    np.testing.assert_array_equal(ssfr[4], own["ssfr_stellar_per_yr"])  # the label's mass; SFR = 0 is 0


def test_what_is_written_is_read_as_an_input(tmp_path):
    chosen = settings(
        preprocessing={"label": {"mass": "total"}, "images": {"table": "allsfr.pkl", "images": "png"}}
    )
    found = whole(trees=60, settings=chosen)
    folder = thesis_export.write(tmp_path, found, None)
    candidates = read_candidates(folder, chosen.preprocessing.images)
    expected = found.galaxies.sort_values(["snapshot", "subhalo_id"], ascending=[False, True])
    np.testing.assert_array_equal(candidates["snapshot"], expected["snapshot"])
    np.testing.assert_array_equal(candidates["subhalo_id"], expected["subhalo_id"])
    np.testing.assert_array_equal(candidates["ssfr_total_per_yr"], expected["ssfr_total_per_yr"])
    assert (candidates["reason"] == "").all()


def test_pictures_go_with_them_where_there_are_some(tmp_path, pictures):
    folder = thesis_export.write(tmp_path, whole(trees=60), pictures)
    assert (folder / "png" / "Snap99ID0.png").read_bytes() == (pictures / "Snap99ID0.png").read_bytes()
    assert "png: 1 pictures" in (folder / "README.txt").read_text()
    thesis_export.write(tmp_path, whole(trees=60), pictures)  # a call that was killed is made again


def test_galaxies_without_snapshots_have_no_lists_and_the_readme_says_so(tmp_path):
    found = whole(trees=60)
    found.galaxies["galaxy"] = found.galaxies["galaxy"].str.replace("Snap", "image")
    folder = thesis_export.write(tmp_path, found, None)
    assert not (folder / "allsfr.pkl").exists()
    assert "no allsfr.pkl" in (folder / "README.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["none", "thesis"])
def test_the_report_writes_them_only_on_request(tmp_path, pictures, wanted):
    chosen = settings(evaluation={"bootstrap": 100, "export": wanted})
    found = whole(trees=60, settings=chosen, cases={"composite": THESIS_CASES["composite"]})
    maps = tmp_path / "maps"
    maps.mkdir()
    write_maps(maps, found.galaxies)
    output = tmp_path / "output"
    with MapReader(maps, found.galaxies) as reader:
        page.write_report(output, found, reader, pictures)
    assert (output / "thesis" / "png").is_dir() == (wanted == "thesis")
    assert (output / "report.html").stat().st_size < 4_000_000
    assert (output / "model-card.md").is_file()
    assert (output / "tables" / "table_iii_1.csv").is_file()
    assert (output / "figures" / "scores.pdf").is_file()
