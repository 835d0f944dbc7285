"""Maps drawn shard by shard, as pods do: data and artifacts in S3, each task on a machine of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp.dsl import Dataset
from pandas import read_parquet
from s3_server import Place
from stored_artifacts import contents

import ssfr.components.shards as sharing
from ssfr.components.catalog.component import catalog
from ssfr.components.catalog.select import SAMPLE
from ssfr.components.catalog.select import run as select
from ssfr.components.config import UniverseSettings, parse_settings
from ssfr.components.projection import project
from ssfr.components.projection.component import projection_joined, projection_shard
from ssfr.components.runtime.progress import SILENT
from ssfr.components.simulation import open_source
from ssfr.components.simulation.universe import write_universe
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.store import Store
from ssfr.components.storage.upload import upload


class Cluster:
    """Does the tasks of the first two steps one after another, as pods that share nothing but S3."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place, self.folder = place, folder
        self.workdir = f"s3://{place.bucket}/runs"
        self.store: Store = open_store(self.workdir, place.settings())
        self._pods = 0

    def catalog(self, data: str, tasks: int = 2) -> tuple[Any, Dataset]:
        """Do the first step; return what it says, and the reference to the sample."""
        scratch, given = self._pod()
        sample = Dataset(uri=str(scratch / "sample"))
        return catalog.python_func(data=data, repository="", sample=sample, tasks=tasks, **given), sample

    def draw(self, task: Callable[..., None], **arguments: Any) -> tuple[Path, Dataset]:
        """Do a task that makes maps; return what was on its machine, and the reference to them."""
        scratch, given = self._pod()
        maps = Dataset(uri=str(scratch / "maps"))
        task.python_func(maps=maps, **arguments, **given)
        return scratch, maps

    def run(self, data: str, tasks: int = 2) -> tuple[str, dict[str, Path]]:
        """Return the key of the joined maps, and each shard's machine by the key of what it made."""
        found, sample = self.catalog(data, tasks)
        drawn, machines = [], {}
        for shard in found.shards:
            machine, maps = self.draw(projection_shard, data=found.data, sample=sample, **shard)
            drawn.append(maps)
            machines[key_of(maps)] = machine
        _, joined = self.draw(projection_joined, sample=sample, drawn=drawn)
        return key_of(joined), machines

    def _pod(self) -> tuple[Path, dict[str, str]]:
        self._pods += 1
        scratch = self.folder / f"pod{self._pods}"
        scratch.mkdir(parents=True)
        storage = self.place.settings(scratch=str(scratch)).model_dump(mode="json")
        projection = {"pixels": 16, "workers": 1}
        settings = parse_settings({"projection": projection, "storage": storage}, "test")
        return scratch, {"workdir": self.workdir, "settings": settings.model_dump_json()}


def key_of(reference: Dataset) -> str:
    return json.loads(Path(reference.path).read_text())["key"]


def hdf5_of_simulation(machine: Path) -> set[str]:
    return {path.name for path in machine.rglob("*.hdf5")}


@pytest.fixture
def universe(tmp_path: Path) -> Path:
    path = tmp_path / "universe"
    recipe = UniverseSettings(
        galaxies=5, snapshots=(99, 95), cells_min=800, cells_max=1000, chunks=1, workers=1
    )
    write_universe(path, recipe, SILENT)
    return path


def test_the_sample_is_that_of_all_data_though_no_cells_are_copied_for_it(
    place: Place, universe: Path, tmp_path: Path
) -> None:
    cluster, data = Cluster(place, tmp_path / "pods"), f"s3://{place.bucket}/universe"
    upload(universe, data, place.settings(), SILENT)
    _, sample = cluster.catalog(data)
    names = hdf5_of_simulation(Path(sample.path).parent)
    assert {"fof_subhalo_tab_099.0.hdf5", "offsets_095.hdf5", "tree_extended.0.hdf5"} <= names
    assert not any(name.startswith("snap") for name in names)
    cluster.store.fetch(key_of(sample), tmp_path / "drawn")
    settings = parse_settings({}, "test")
    (tmp_path / "here").mkdir()
    select(tmp_path / "here", open_source(str(universe), settings.simulation), settings, SILENT)
    assert read_parquet(tmp_path / "drawn" / SAMPLE).equals(read_parquet(tmp_path / "here" / SAMPLE))


def test_a_file_that_is_no_simulation_changes_no_sample_and_no_maps(
    place: Place, universe: Path, tmp_path: Path
) -> None:
    cluster, data = Cluster(place, tmp_path / "pods"), f"s3://{place.bucket}/universe"
    upload(universe, data, place.settings(), SILENT)
    (universe / "README").write_text("where these are from")
    upload(universe, data, place.settings(), SILENT)
    first, second = (cluster.catalog(f"{data}/{version}") for version in (1, 2))
    assert key_of(first[1]) == key_of(second[1])
    assert [found.data for found, _ in (first, second)] == [f"{data}/1", f"{data}/2"]
    assert [found.synthetic for found, _ in (first, second)] == [True, True]
    assert cluster.run(f"{data}/1")[0] == cluster.run(f"{data}/2")[0]


def test_of_a_new_snapshot_its_own_maps_alone_are_drawn(place: Place, universe: Path, tmp_path: Path) -> None:
    cluster, data = Cluster(place, tmp_path / "pods"), f"s3://{place.bucket}/universe"
    earlier = tmp_path / "earlier"
    shutil.copytree(universe, earlier, ignore=shutil.ignore_patterns("*_095*"))

    upload(earlier, data, place.settings(), SILENT)
    first, machines = cluster.run(data)
    (old,) = machines
    assert old.startswith("projection_shard/099-0/")
    before = cluster.store.artifacts("projection_shard")

    upload(universe, data, place.settings(), SILENT)
    second, machines = cluster.run(data)
    assert set(machines) > {old} and second != first
    assert hdf5_of_simulation(machines.pop(old)) == set()
    ((new, machine),) = machines.items()
    assert new.startswith("projection_shard/095-0/")
    assert hdf5_of_simulation(machine) == {
        "fof_subhalo_tab_095.0.hdf5",
        "snap_095.0.hdf5",
        "offsets_095.hdf5",
    }
    assert [one for one in cluster.store.artifacts("projection_shard") if one.key != new] == before
    assert (
        cluster.store.clean("projection_shard", keep=1, older_than_s=0) == []
    )  # the newest of each snapshot


@pytest.mark.slow
def test_joined_shards_are_one_artifact_however_many_there_were(
    place: Place, universe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (project, sharing):
        monkeypatch.setattr(module, "GALAXIES_A_FILE", 2)
    cluster, data = Cluster(place, tmp_path / "pods"), f"s3://{place.bucket}/universe"
    upload(universe, data, place.settings(), SILENT)
    one, one_machines = cluster.run(data, tasks=1)
    cluster.store.fetch(one, tmp_path / "one")
    cluster.store.remove(one)
    two, two_machines = cluster.run(data, tasks=2)
    cluster.store.fetch(two, tmp_path / "two")
    assert len(two_machines) > len(one_machines) == 2
    assert one == two
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
