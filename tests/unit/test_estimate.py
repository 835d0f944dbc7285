"""The estimate: what a run costs by its settings, and a disk that is too small refused before it starts."""

import json
import shutil

import pandas as pd
import pytest

from ssfr.components.config import Settings, Vgg16Settings, parse_settings
from ssfr.components.errors import InputError
from ssfr.pipelines.local.estimate import _START_S, check_disk, estimate


@pytest.fixture
def sample(tmp_path):
    folder = tmp_path / "work" / "catalog" / "abc"
    folder.mkdir(parents=True)
    pd.DataFrame({"gas_cells": [1000] * 100, "halo_gas_cells": [2000] * 100}).to_parquet(
        folder / "sample.parquet"
    )
    return folder


def settings(**sections):
    return parse_settings(sections, "test")


THESIS = {"model": "vgg16", "loss": "mse", "seeds": 1, "epochs": 100}
CASES = [{"name": "composite"}, {"name": "mass", "channels": ["mass"]}]


def test_features_are_on_the_disk_for_one_case_at_a_time(sample):
    maps = 100 * 3 * 256**2 * 4
    compact = estimate(sample, settings(cases=CASES))
    assert compact.disk_bytes == maps + 100 * 64**2 * 12 * 4
    vgg16 = estimate(sample, settings(cases=CASES, training=THESIS))
    assert vgg16.disk_bytes == maps + 100 * 65536


def test_cases_trained_at_the_same_time_share_the_disk(sample):
    two = settings(cases=CASES, training={**THESIS, "workers": 2})
    assert estimate(sample, two).feature_bytes == 2 * 100 * 65536


def test_every_view_is_drawn_kept_and_trained_on(sample):
    one, two = (estimate(sample, settings(projection={"orientation": "random", "views": n})) for n in (1, 2))
    assert (two.galaxies, two.disk_bytes) == (one.galaxies, 2 * one.disk_bytes)
    assert two.seconds - _START_S == pytest.approx(2 * (one.seconds - _START_S))


def test_an_image_catalogue_has_its_maps_already(sample):
    (sample / "maps-images-000.h5").touch()
    assert estimate(sample, Settings()).disk_bytes == 100 * 64**2 * 12 * 4


def test_seeds_and_the_audit_take_time(sample):
    one = estimate(sample, settings(training=THESIS)).seconds
    three = estimate(sample, settings(training={**THESIS, "seeds": 3})).seconds
    audited = settings(training=THESIS, evaluation={"audit_case": "composite"})
    assert three - one == pytest.approx(2 * 100 * 100 * Vgg16Settings().cost(256, 3).epoch_s)
    assert estimate(sample, audited).seconds > three


def make_shard(workdir, projection, galaxies):
    folder = workdir / "projection_shard" / "099-0" / "key"
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"settings": {"projection": projection}, "figures": {"galaxies": galaxies}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_only_what_this_run_can_use_again_counts_as_done(sample, tmp_path, monkeypatch):
    chosen, workdir = Settings(), tmp_path / "work"
    needed = estimate(sample, chosen)
    usage = shutil.disk_usage(workdir)._replace(free=int(needed.feature_bytes) + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"work: .* GB free, but the run may need .* GB more"):
        check_disk(needed, workdir)
    (workdir / "report.html").write_bytes(b"0" * 10_000_000)
    for pixels, galaxies in ((128, 100), (256, 90)):
        make_shard(workdir, {"pixels": pixels}, galaxies)
        with pytest.raises(InputError, match="GB more"):
            check_disk(needed, workdir)
    make_shard(workdir, {"pixels": 256}, 100)
    check_disk(needed, workdir)


def test_what_a_killed_run_left_of_a_step_counts_as_done_up_to_what_is_needed(sample, tmp_path, monkeypatch):
    chosen, workdir = Settings(), tmp_path / "work"
    needed = estimate(sample, chosen)
    staging = workdir / ".staging" / "training-key" / "unfinished"
    staging.mkdir(parents=True)
    with (staging / "features.npy").open("wb") as file:
        file.truncate(int(2 * needed.disk_bytes))
    for free, enough in ((needed.map_bytes + 1, True), (needed.map_bytes - 1, False)):
        usage = shutil.disk_usage(workdir)._replace(free=free)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
            if enough:
                check_disk(needed, workdir)
            else:
                with pytest.raises(InputError, match="GB more"):
                    check_disk(needed, workdir)
