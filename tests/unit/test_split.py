"""The split: a partition that depends on the seed and the group alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from map_samples import sample_table

from ssfr.components.config import SplitSettings
from ssfr.components.errors import InputError
from ssfr.components.preprocessing.split import AUDITS, SPLITS, audit_splits, split


def named(sample: pd.DataFrame, result: pd.DataFrame) -> dict[tuple[int, int], str]:
    keys = zip(sample["snapshot"], sample["subhalo_id"], strict=True)
    return dict(zip(keys, result["split"], strict=True))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), method=st.sampled_from(["tree", "halo", "random"]))
def test_every_galaxy_is_in_one_set_and_every_set_has_galaxies(seed: int, method: str) -> None:
    sample = sample_table(200)
    result = split(sample, SplitSettings.model_validate({"method": method}), seed)
    assert set(result["split"]) == set(SPLITS)
    assert len(result) == len(sample)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shuffle=st.integers(0, 2**31),
    method=st.sampled_from(["tree", "halo", "random"]),
)
def test_reordering_moves_no_galaxy(seed: int, shuffle: int, method: str) -> None:
    sample = sample_table(200)
    chosen = SplitSettings.model_validate({"method": method})
    shuffled = sample.sample(frac=1, random_state=shuffle)
    assert named(shuffled, split(shuffled, chosen, seed)) == named(sample, split(sample, chosen, seed))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), method=st.sampled_from(["tree", "halo", "random"]))
def test_added_snapshots_and_galaxies_move_no_galaxy(seed: int, method: str) -> None:
    chosen = SplitSettings.model_validate({"method": method})
    few = sample_table(150, (99,))
    more = sample_table(250, (99, 97, 95))
    before, after = named(few, split(few, chosen, seed)), named(more, split(more, chosen, seed))
    assert {key: after[key] for key in before} == before


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_galaxy_is_on_one_side_in_every_snapshot(seed: int) -> None:
    sample = sample_table(150, (99, 97, 95, 93))
    sample["split"] = split(sample, SplitSettings(), seed)["split"]
    assert sample.groupby("tree_id")["split"].nunique().max() == 1


def test_a_random_split_puts_twins_on_both_sides() -> None:
    sample = sample_table(150, (99, 97, 95, 93))
    sample["split"] = split(sample, SplitSettings(method="random"), 1)["split"]
    assert sample.groupby("tree_id")["split"].nunique().max() > 1


def test_without_a_tree_halos_stay_together() -> None:
    sample = sample_table(150, (99,))
    sample["in_tree"] = False
    sample["tree_id"] = -1 - np.arange(150)
    sample[["split", "group"]] = split(sample, SplitSettings(), 1)
    assert sample.groupby("halo_id")["split"].nunique().max() == 1
    assert sample["group"].nunique() == sample["halo_id"].nunique()


def test_the_shares_are_those_asked_for() -> None:
    sample = sample_table(4000, (99,))
    shares = split(sample, SplitSettings(), 1)["split"].value_counts(normalize=True)
    for name, share in {"train": 0.65, "validation": 0.1, "test": 0.15, "promotion": 0.1}.items():
        assert shares[name] == pytest.approx(share, abs=0.02)


def test_the_test_set_does_not_depend_on_the_other_shares() -> None:
    sample = sample_table(300)
    thesis = SplitSettings(validation=0.0, promotion=0.0)
    first, second = split(sample, SplitSettings(), 1), split(sample, thesis, 1)
    assert ((first["split"] == "test") == (second["split"] == "test")).all()
    assert set(second["split"]) == {"train", "test"}


def test_another_seed_is_another_split() -> None:
    sample = sample_table(300)
    first, second = (split(sample, SplitSettings(), seed) for seed in (1, 2))
    assert (first["split"] != second["split"]).any()
    assert (first["group"] == second["group"]).all()


def test_an_empty_set_is_an_error_with_counts_and_a_way_out() -> None:
    with pytest.raises(InputError, match=r"set is empty \(train \d, .*of 3 galaxies\); take more galaxies"):
        split(sample_table(3, (99,)), SplitSettings(), 1)


BY_RUN = {"method": "column", "column": "run", "column_values": {"Ref": "train", "Recal": "test"}}


def with_runs(count: int = 60) -> pd.DataFrame:
    sample = sample_table(count, (0,))
    sample["table_run"] = np.where(np.arange(count) < count // 2, "Ref", "Recal")
    return sample


def test_a_column_decides_between_train_and_test_and_train_gives_the_rest() -> None:
    sample = with_runs()
    sample["split"] = split(sample, SplitSettings.model_validate(BY_RUN), 1)["split"]
    assert set(sample.loc[sample["table_run"] == "Recal", "split"]) == {"test"}
    assert set(sample.loc[sample["table_run"] == "Ref", "split"]) == {"train", "validation", "promotion"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"column": "rum"}, r"no column 'rum'.*did you mean 'run'"),
        ({"column_values": {"Ref": "train"}}, "'Recal' of column 'run'.*neither train nor test"),
        (
            {"column_values": {"Ref": "train", "Recal": "test", "Reff": "test"}},
            r"no galaxy has 'Reff'.*did you mean 'Ref'",
        ),
        ({"column_values": {"Ref": "train", "Recal": "train"}}, "the test set is empty"),
    ],
)
def test_a_column_that_does_not_fit_is_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(with_runs(), SplitSettings.model_validate(BY_RUN | change), 1)


def test_a_group_on_both_sides_of_the_column_is_refused() -> None:
    sample = with_runs()
    sample["tree_id"] = 7
    with pytest.raises(InputError, match="1 groups have galaxies on both sides"):
        split(sample, SplitSettings.model_validate(BY_RUN), 1)


def test_the_audits_sets_are_of_equal_size_and_differ_in_who_stays_together() -> None:
    sample = sample_table(150, (99, 97, 95, 93))
    chosen = SplitSettings(promotion=0.2)
    audit = sample.join(audit_splits(sample, chosen, 1))
    for method in AUDITS:
        counts = audit[f"audit_{method}"].value_counts()
        assert set(counts.index) == {"train", "validation", "test"}
        assert abs(counts["test"] - 90) <= 4
        assert abs(counts["validation"] - 60) <= 4
    assert audit.groupby("tree_id")["audit_tree"].nunique().max() == 1
    assert audit.groupby(["snapshot", "halo_id"])["audit_halo"].nunique().max() == 1
    assert audit.groupby("tree_id")["audit_halo"].nunique().max() > 1
    assert audit.groupby(["snapshot", "halo_id"])["audit_random"].nunique().max() > 1
    again = audit_splits(sample.sample(frac=1, random_state=0), chosen, 1).sort_index()
    assert again.equals(audit[[f"audit_{method}" for method in AUDITS]])


def test_an_audit_with_too_few_groups_is_refused() -> None:
    sample = sample_table(20, (99, 97))
    sample["tree_id"] = 7
    with pytest.raises(InputError, match=r"evaluation.audit_case: split by tree: the .* set is empty"):
        audit_splits(sample, SplitSettings(), 1)


def test_the_audit_splits_pictures_at_random_whatever_their_groups_are() -> None:
    sample = sample_table(60, (0,)).assign(file="x.png", tree_id=np.arange(60) // 3)
    audit = sample.join(audit_splits(sample, SplitSettings(), 1))
    assert audit.groupby("tree_id")["audit_tree"].nunique().max() == 1
    assert audit.groupby("tree_id")["audit_random"].nunique().max() > 1
