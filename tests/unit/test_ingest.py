"""Image catalogues: a folder and a table, or the thesis' pictures and pickles."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from identities import picture_identity
from PIL import Image

from ssfr.components.config import ProjectionSettings, Settings
from ssfr.components.errors import InputError
from ssfr.components.imagesets.reader import MapReader
from ssfr.components.preprocessing import ingest, prepare
from ssfr.components.runtime.progress import SILENT

SIDE = 16
COUNT = 30


def settings_of(split: dict[str, Any] | None = None, **images: Any) -> Settings:
    return Settings.model_validate(
        {
            "projection": {"pixels": SIDE},
            "preprocessing": {"images": images, "split": split or {}},
            "cases": [{"name": "rgb", "channels": ["red", "green", "blue"]}],
        }
    )


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A catalogue of thirty pictures, one of them with SFR = 0."""
    folder = tmp_path / "catalogue"
    (folder / "images").mkdir(parents=True)
    for number in range(COUNT):
        Image.fromarray(picture(number)).save(folder / "images" / f"g{number}.png")
    table = pd.DataFrame(
        {
            "filename": [f"g{number}.png" for number in range(COUNT)],
            "run": ["a", "b"] * (COUNT // 2),
            "stellar_mass_msun": 1e10,
            "sfr_msun_per_yr": [0.0, *np.linspace(0.1, 3, COUNT - 1)],
        }
    )
    table.to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "output").mkdir()
    return tmp_path / "output"


def alter(folder: Path, row: int, column: str, value: Any) -> None:
    table = pd.read_csv(folder / "labels.csv", dtype=str)
    table.loc[row, column] = value
    table.to_csv(folder / "labels.csv", index=False)


def test_a_catalogue_has_the_form_of_a_sample_with_maps(folder: Path, output: Path) -> None:
    figures = ingest.run(output, folder, settings_of(), SILENT)
    assert figures == {"images": COUNT, "rejected": 0, "reasons": {}, "zero_sfr": 1, "not_in_table": 0}
    sample = pd.read_parquet(output / "sample.parquet")
    assert sample["ssfr_stellar_per_yr"].iloc[1] == pytest.approx(1e-11)
    assert sample["label_stellar_mass_msun"].iloc[1] == 1e10
    assert sample["table_run"].iloc[1] == "b"
    galaxies = prepare.drawn_galaxies(output / "sample.parquet", output / "projection.csv")
    with MapReader(output, galaxies) as reader:
        assert reader.identity == picture_identity(SIDE)
        maps = reader.maps([4, 2])
    assert maps.dtype == np.uint8
    np.testing.assert_array_equal(maps[1].transpose(1, 2, 0), picture(2))


def test_parquet_tables_and_other_column_names_are_read(folder: Path, output: Path) -> None:
    table = pd.read_csv(folder / "labels.csv")
    table["ssfr"] = table["sfr_msun_per_yr"] / 1e10
    table[["filename", "ssfr"]].rename(columns={"filename": "image"}).to_parquet(folder / "t.parquet")
    settings = settings_of(table="t.parquet", file_column="image", ssfr_column="ssfr")
    assert ingest.run(output, folder, settings, SILENT)["images"] == COUNT
    sample = pd.read_parquet(output / "sample.parquet")
    assert sample["ssfr_stellar_per_yr"].iloc[1] == pytest.approx(1e-11)
    assert sample["stellar_mass_msun"].isna().all()
    assert sample["label_stellar_mass_msun"].isna().all()


def test_bad_rows_and_pictures_are_rejected_counted_and_listed(folder: Path, output: Path) -> None:
    alter(folder, 3, "sfr_msun_per_yr", "-1")
    alter(folder, 4, "sfr_msun_per_yr", "")
    alter(folder, 5, "sfr_msun_per_yr", "much")
    alter(folder, 6, "stellar_mass_msun", "0")
    alter(folder, 7, "filename", "absent.png")
    (folder / "images" / "g8.png").write_text("no image")
    Image.fromarray(picture(9)[:8]).save(folder / "images" / "g9.png")
    figures = ingest.run(output, folder, settings_of(max_rejected=0.5), SILENT)
    listed = pd.read_csv(output / "rejected.csv")
    assert (figures["images"], figures["rejected"], figures["not_in_table"]) == (COUNT - 7, 7, 1)
    assert figures["reasons"] == {
        "SFR": 3,
        "stellar mass": 1,
        "no such file": 1,
        "not a PNG or JPEG image": 1,
        "16 x 8 pixels": 1,
    }
    assert listed["file"].tolist() == [f"g{n}.png" for n in (3, 4, 5, 6)] + ["absent.png", "g8.png", "g9.png"]
    assert listed["reason"][2] == "SFR is 'much'; expected a number 0 or more"
    sample = pd.read_parquet(output / "sample.parquet")
    assert not set(sample["file"]) & set(listed["file"])
    with MapReader(
        output, prepare.drawn_galaxies(output / "sample.parquet", output / "projection.csv")
    ) as reader:
        np.testing.assert_array_equal(reader.maps([3])[0].transpose(1, 2, 0), picture(10))


def test_more_bad_pictures_than_allowed_end_the_run(folder: Path, output: Path) -> None:
    for number in (2, 3):
        (folder / "images" / f"g{number}.png").unlink()
    with pytest.raises(
        InputError, match=r"2 of 30 images are unusable.*0\.05 allows \(first: g2\.png: no such"
    ):
        ingest.run(output, folder, settings_of(), SILENT)
    assert not (output / "sample.parquet").exists()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({"table": "other.csv"}, "no such label table"),
        ({"images": "pictures"}, "no such folder"),
        ({"file_column": "file_name"}, r"no column 'file_name'.*did you mean 'filename'"),
        ({"sfr_column": "sfr"}, r"no column 'sfr'.*images\.sfr_column"),
        ({"stellar_mass_column": "mass"}, "no column 'mass'"),
        ({"group_column": "rn"}, "no column 'rn'.*did you mean 'run'"),
        ({"sfr_column": None}, "expected ssfr_column, or both"),
        ({"table": "images/g1.png"}, r"expected a \.csv or \.parquet table"),
    ],
)
def test_settings_that_do_not_fit_the_folder_are_refused(
    folder: Path, output: Path, images: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ingest.run(output, folder, settings_of(**images), SILENT)


@pytest.mark.parametrize(
    ("row", "column", "value", "message"),
    [
        (4, "filename", "g3.png", "'g3.png' is there twice"),
        (4, "filename", "../labels.csv", "leads out of"),
        (4, "filename", "/etc/passwd", "leads out of"),
        (4, "filename", " ", "row 5 has no 'filename'"),
    ],
)
def test_a_table_with_a_wrong_file_name_is_refused(
    folder: Path, output: Path, row: int, column: str, value: str, message: str
) -> None:
    alter(folder, row, column, value)
    with pytest.raises(InputError, match=message):
        ingest.run(output, folder, settings_of(), SILENT)


def test_a_link_out_of_the_folder_is_refused(folder: Path, output: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes((folder / "images" / "g1.png").read_bytes())
    (folder / "images" / "g1.png").unlink()
    (folder / "images" / "g1.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match=r"'g1\.png': leads out of"):
        ingest.run(output, folder, settings_of(), SILENT)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b'filename\n"a', b"filename,x\n1,2,3\n4\n1,2,3,4,5"]
)
@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_an_unreadable_table_is_one_clear_line(folder: Path, output: Path, content: bytes, name: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=name) as refusal:
        ingest.run(output, folder, settings_of(table=name), SILENT)
    assert "\n" not in str(refusal.value)


def test_a_table_without_rows_is_refused(folder: Path, output: Path) -> None:
    (folder / "labels.csv").write_text("filename,stellar_mass_msun,sfr_msun_per_yr\n")
    with pytest.raises(InputError, match="no rows"):
        ingest.run(output, folder, settings_of(), SILENT)


@pytest.mark.parametrize("method", ["tree", "halo", "random"])
def test_a_group_column_keeps_its_galaxies_together(folder: Path, output: Path, method: str) -> None:
    table = pd.read_csv(folder / "labels.csv")
    table["pair"] = np.arange(COUNT) // 2
    table.to_csv(folder / "labels.csv", index=False)
    settings = settings_of({"method": method, "test": 0.2}, group_column="pair")
    ingest.run(output, folder, settings, SILENT)
    prepare.run(output, output, output, settings, SILENT)
    galaxies = pd.read_parquet(output / "galaxies.parquet")
    assert galaxies.groupby("table_pair")["split"].nunique().max() == 1
    assert galaxies["group"].nunique() == COUNT // 2


def test_a_missing_group_is_refused(folder: Path, output: Path) -> None:
    alter(folder, 2, "run", "")
    with pytest.raises(InputError, match="row 3 has no 'run'"):
        ingest.run(output, folder, settings_of(group_column="run"), SILENT)


def test_the_split_does_not_depend_on_the_order_of_the_table(
    folder: Path, output: Path, tmp_path: Path
) -> None:
    def sets(where: Path) -> dict[str, str]:
        where.mkdir(exist_ok=True)
        ingest.run(where, folder, settings_of(), SILENT)
        prepare.run(where, where, where, settings_of(), SILENT)
        galaxies = pd.read_parquet(where / "galaxies.parquet")
        return dict(zip(galaxies["file"], galaxies["split"], strict=True))

    before = sets(output)
    pd.read_csv(folder / "labels.csv").iloc[::-1].to_csv(folder / "labels.csv", index=False)
    assert sets(tmp_path / "again") == before


def test_a_killed_call_goes_on_and_ends_with_the_same_files(
    folder: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "SHARD_GALAXIES", 8)
    (folder / "images" / "g1.png").write_text("no image")
    ingest.run(output, folder, settings_of(), SILENT)
    again = tmp_path / "again"
    again.mkdir()
    for name in ("maps-images-000.h5", "maps-images-002.h5"):
        (again / name).write_bytes((output / name).read_bytes())
    ingest.run(again, folder, settings_of(), SILENT)
    names = sorted(path.name for path in output.iterdir())
    assert sorted(path.name for path in again.iterdir()) == names
    for name in names:
        assert (again / name).read_bytes() == (output / name).read_bytes(), name


def test_the_fingerprint_changes_with_a_picture_and_not_with_the_place(folder: Path, tmp_path: Path) -> None:
    before = ingest.fingerprint(folder, settings_of())
    moved = folder.rename(tmp_path / "moved")
    assert ingest.fingerprint(moved, settings_of()) == before
    Image.fromarray(picture(99)[:8]).save(moved / "images" / "g1.png")
    assert ingest.fingerprint(moved, settings_of()) != before


def test_the_file_says_that_it_holds_pictures(folder: Path, output: Path) -> None:
    ingest.run(output, folder, settings_of(), SILENT)
    with h5py.File(output / "maps-images-000.h5") as file:
        assert file.attrs["identity"] == picture_identity(SIDE).model_dump_json()
        assert file["maps"].chunks == (1, 3, SIDE, SIDE)


@pytest.fixture
def thesis(tmp_path: Path) -> Path:
    """Pictures and pickles as the thesis left them: two snapshots, an alpha channel."""
    folder = tmp_path / "thesis"
    (folder / "images").mkdir(parents=True)
    ids = [np.array([4, 17, 30]), np.array([4, 9])]
    ssfr = [np.array([1e-11, 0.0, 3e-11]), np.array([4e-11, 5e-11])]
    for snapshot, subhalos in zip((99, 98), ids, strict=True):
        for subhalo in subhalos:
            image = Image.fromarray(picture(int(subhalo))).convert("RGBA")
            image.save(folder / "images" / f"Snap{snapshot}ID{subhalo}.png")
    (folder / "allsfr.pkl").write_bytes(pickle.dumps(ssfr))
    (folder / "valid.pkl").write_bytes(pickle.dumps(ids))
    return folder


def test_the_thesis_pickles_and_pictures_are_read(thesis: Path, output: Path) -> None:
    figures = ingest.run(output, thesis, settings_of(table="allsfr.pkl"), SILENT)
    sample = pd.read_parquet(output / "sample.parquet")
    assert figures["zero_sfr"] == 1
    assert sample["snapshot"].tolist() == [99, 99, 99, 98, 98]
    assert sample["subhalo_id"].tolist() == [4, 17, 30, 4, 9]
    assert sample["ssfr_total_per_yr"].tolist() == [1e-11, 0.0, 3e-11, 4e-11, 5e-11]
    assert sample["ssfr_stellar_per_yr"].isna().all()


def test_names_of_the_thesis_in_a_table_give_snapshot_and_subhalo(thesis: Path, output: Path) -> None:
    names = sorted(path.name for path in (thesis / "images").iterdir())
    pd.DataFrame({"filename": names, "ssfr": 1e-11}).to_csv(thesis / "labels.csv", index=False)
    ingest.run(output, thesis, settings_of(ssfr_column="ssfr"), SILENT)
    sample = pd.read_parquet(output / "sample.parquet")
    assert sample[["snapshot", "subhalo_id"]].to_numpy().tolist() == [
        [99, 4],
        [99, 17],
        [99, 30],
        [98, 4],
        [98, 9],
    ]


def test_pickles_out_of_step_are_refused(thesis: Path, output: Path) -> None:
    (thesis / "valid.pkl").write_bytes(pickle.dumps([np.array([4, 17]), np.array([4, 9])]))
    with pytest.raises(
        InputError, match=r"\[3, 2\] values a snapshot, but valid\.pkl beside it has \[2, 2\]"
    ):
        ingest.run(output, thesis, settings_of(table="allsfr.pkl"), SILENT)


class Touches:
    """Pickled, it is a call that makes a file."""

    def __init__(self, victim: Path) -> None:
        self._victim = victim

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self._victim), "w")


@pytest.mark.parametrize("name", ["allsfr.pkl", "valid.pkl"])
def test_a_pickle_that_would_run_code_in_place_of_the_thesis_runs_nothing(
    thesis: Path, output: Path, name: str
) -> None:
    victim = thesis / "victim"
    (thesis / name).write_bytes(pickle.dumps([np.array([1.0]), Touches(victim)]))
    with pytest.raises(InputError, match=rf"{name}: refused, since loading it would use '.*open'"):
        ingest.run(output, thesis, settings_of(table="allsfr.pkl"), SILENT)
    assert not victim.exists()


def test_a_pickle_without_its_ids_is_refused(thesis: Path, output: Path) -> None:
    (thesis / "valid.pkl").unlink()
    with pytest.raises(InputError, match=r"valid\.pkl: no such file"):
        ingest.run(output, thesis, settings_of(table="allsfr.pkl"), SILENT)


@pytest.mark.parametrize(
    "ids", [[np.array([4.5, 17, 30]), np.array([4, 9])], [np.array([-4, 17, 30]), np.array([4, 9])]]
)
def test_ids_that_are_no_ids_are_refused(thesis: Path, output: Path, ids: list[np.ndarray]) -> None:
    (thesis / "valid.pkl").write_bytes(pickle.dumps(ids))
    with pytest.raises(InputError, match="expected subhalo ids"):
        ingest.run(output, thesis, settings_of(table="allsfr.pkl"), SILENT)


@pytest.mark.real_data
def test_real_pictures_train_on_one_run_and_are_tested_on_the_other(shared_data: Path, output: Path) -> None:
    settings = Settings.model_validate(
        {
            "cases": [{"name": "rgb", "channels": ["red", "green", "blue"]}],
            "preprocessing": {
                "split": {
                    "method": "column",
                    "column": "run",
                    "column_values": {"RefL0025N0376": "train", "RecalL0025N0752": "test"},
                }
            },
        }
    )
    folder = shared_data / "eagle_faceon_L0025"
    packed = ingest.run(output, folder, settings, SILENT)
    figures = prepare.run(output, output, output, settings, SILENT)
    assert (packed["images"], packed["rejected"], figures["zero_sfr"]) == (130, 0, 1)
    assert figures["split"]["test"] == 71
    assert figures["split"]["train"] + figures["split"]["validation"] + figures["split"]["promotion"] == 59
    galaxies = pd.read_parquet(output / "galaxies.parquet")
    assert galaxies.groupby("table_run")["split"].agg(lambda sets: "test" in set(sets)).sum() == 1
    with MapReader(output, galaxies) as reader, Image.open(folder / "images" / galaxies["file"][77]) as image:
        np.testing.assert_array_equal(reader.maps([77])[0].transpose(1, 2, 0), np.asarray(image))


@pytest.mark.parametrize("name", ["./g3.png", "x/../g3.png", ".//g3.png", "link.png"])
def test_one_picture_under_two_names_is_refused(folder: Path, output: Path, name: str) -> None:
    (folder / "images" / "link.png").symlink_to("g3.png")
    alter(folder, 4, "filename", name)
    with pytest.raises(InputError, match="is there twice"):
        ingest.run(output, folder, settings_of(), SILENT)


def test_a_name_counts_as_it_is_in_the_folder_however_it_is_spelled(folder: Path, output: Path) -> None:
    alter(folder, 4, "filename", ".//g4.png")
    ingest.run(output, folder, settings_of(), SILENT)
    assert pd.read_parquet(output / "sample.parquet")["file"][4] == "g4.png"


def drawn(output: Path) -> pd.DataFrame:
    return prepare.drawn_galaxies(output / "sample.parquet", output / "projection.csv")


def test_galaxies_are_named_by_their_file_whatever_the_order_of_the_table(
    folder: Path, output: Path, tmp_path: Path
) -> None:
    (folder / "images" / "below").mkdir()
    (folder / "images" / "g5.png").rename(folder / "images" / "below" / "g5.png")
    alter(folder, 5, "filename", "below/g5.png")
    ingest.run(output, folder, settings_of(), SILENT)
    before = drawn(output)
    prepare.run(output, output, output, settings_of(), SILENT)
    assert before["galaxy"].tolist()[4:7] == ["g4", "below/g5", "g6"]
    pd.read_csv(folder / "labels.csv").iloc[::-1].to_csv(folder / "labels.csv", index=False)
    again = tmp_path / "again"
    again.mkdir()
    ingest.run(again, folder, settings_of(), SILENT)
    prepare.run(again, again, again, settings_of(), SILENT)
    after = drawn(again)
    assert dict(zip(after["galaxy"], after["file"], strict=True)) == dict(
        zip(before["galaxy"], before["file"], strict=True)
    )
    assert (again / "scaling.json").read_bytes() == (output / "scaling.json").read_bytes()


def test_files_that_differ_in_their_ending_only_keep_it_in_their_names(folder: Path, output: Path) -> None:
    Image.fromarray(picture(4)).save(folder / "images" / "g3.jpg")
    alter(folder, 4, "filename", "g3.jpg")
    ingest.run(output, folder, settings_of(max_rejected=0.5), SILENT)
    assert drawn(output)["galaxy"].tolist()[2:5] == ["g2.png", "g3.png", "g3.jpg"]


def test_galaxies_of_the_thesis_keep_its_names(thesis: Path, output: Path) -> None:
    ingest.run(output, thesis, settings_of(table="allsfr.pkl"), SILENT)
    assert drawn(output)["galaxy"].tolist()[::3] == ["Snap99ID4", "Snap98ID4"]


def test_pictures_are_packed_with_few_of_them_in_memory(tmp_path: Path, output: Path) -> None:
    side, count = 128, 64
    (tmp_path / "many" / "images").mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (side, side)).save(tmp_path / "many" / "images" / f"g{number}.png")
    names = [f"g{number}.png" for number in range(count)]
    table = pd.DataFrame({"filename": names, "stellar_mass_msun": 1e10, "sfr_msun_per_yr": 1.0})
    table.to_csv(tmp_path / "many" / "labels.csv", index=False)
    settings = settings_of().model_copy(update={"projection": ProjectionSettings(pixels=side)})
    tracemalloc.start()
    ingest.run(output, tmp_path / "many", settings, SILENT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * count * side * side * 3
