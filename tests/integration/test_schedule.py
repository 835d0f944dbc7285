"""Reconciling schedules, over HTTP, with a server that speaks the API of Kubeflow Pipelines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from compiled_pipelines import compile_small
from kfp_server import Fault, KfpServer, kfp_server

from ssfr.components.config import load_settings
from ssfr.components.errors import InputError
from ssfr.pipelines.kubeflow.compile import compile_pipeline
from ssfr.pipelines.kubeflow.endpoint import KubeflowError
from ssfr.pipelines.kubeflow.schedule import read_schedules, schedule
from ssfr.pipelines.options import preset_path

pytestmark = pytest.mark.usefixtures("no_endpoint")

ROOT = Path(__file__).resolve().parents[2]
WEEKLY = {
    "name": "weekly",
    "cron": "0 30 3 * * MON",
    "pipeline": "small.yaml",
    "parameters": {"workdir": "s3://bucket/study", "shards": 3},
}
NIGHTLY = {**WEEKLY, "name": "nightly", "cron": "0 0 1 * * *", "experiment": "nights", "max_concurrency": 2}


class File:
    """A file of schedules, beside a compiled pipeline."""

    def __init__(self, folder: Path, pipeline: Path, kfp: KfpServer) -> None:
        self.path = folder / "schedules.yaml"
        self.pipeline = folder / "small.yaml"
        self.pipeline.write_bytes(pipeline.read_bytes())
        self._kfp = kfp

    def apply(self, *schedules: dict[str, Any], dry_run: bool = False, **top: Any) -> list[tuple[str, str]]:
        """Reconcile; return the requests that were to change something."""
        before = len(self._kfp.changes)
        self.path.write_text(yaml.safe_dump({**top, "schedules": list(schedules)}))
        schedule(self.path, dry_run, self._kfp.endpoint, timeout=1.0)
        return self._kfp.changes[before:]

    def refused(self, text: str) -> str:
        """Return what is said of a file, before the cluster is asked."""
        self.path.write_text(text)
        with pytest.raises(InputError) as caught:
            schedule(self.path, host=self._kfp.endpoint)
        assert self._kfp.requests == []
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def file(tmp_path: Path, pipeline: Path, kfp: KfpServer) -> File:
    return File(tmp_path, pipeline, kfp)


def names(kfp: KfpServer) -> list[str]:
    return sorted(one.display_name for one in kfp.recurring_runs.values())


def test_what_is_missing_is_created(file: File, kfp: KfpServer, capsys: pytest.CaptureFixture[str]) -> None:
    file.apply(WEEKLY, NIGHTLY)
    assert names(kfp) == ["nightly", "weekly"]
    nightly = next(one for one in kfp.recurring_runs.values() if one.display_name == "nightly")
    assert nightly.trigger.cron_schedule.cron == "0 0 1 * * *"
    assert (nightly.no_catchup, nightly.mode, nightly.max_concurrency) == (True, "ENABLE", "2")
    assert nightly.runtime_config.parameters == WEEKLY["parameters"]
    assert kfp.experiments[nightly.experiment_id].display_name == "nights"
    assert len(kfp.versions) == 1
    said = capsys.readouterr().out
    assert "+ create   weekly\n    0 30 3 * * MON (UTC): Mon 20" in said
    assert said.count("Mon 20") == 5


def test_what_is_the_same_is_left_alone(file: File, capsys: pytest.CaptureFixture[str]) -> None:
    file.apply(WEEKLY, NIGHTLY)
    assert file.apply(WEEKLY, NIGHTLY) == []
    assert "= keep     weekly\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cron": "0 0 4 * * MON"}, "cron: '0 30 3 * * MON' -> '0 0 4 * * MON'"),
        ({"parameters": {"workdir": "elsewhere"}}, "parameters.shards: 3 -> None"),
        ({"max_concurrency": 2}, "max_concurrency: 1 -> 2"),
        ({"enabled": False}, "enabled: True -> False"),
        ({"service_account": "runner"}, "service_account: 'pipeline-runner' -> 'runner'"),
        ({"experiment": "others"}, "-> others"),
        ({"description": "for Ada"}, "-> 'for Ada [ssfr schedule, owner ssfr]'"),
    ],
)
def test_what_differs_is_replaced_and_the_difference_shown(
    file: File, kfp: KfpServer, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    file.apply(WEEKLY)
    (old,) = kfp.recurring_runs
    requests = file.apply({**WEEKLY, **change})
    made = [path.rsplit("/", 1)[-1] for method, path in requests if method == "POST"]
    assert made in (["recurringruns"], ["experiments", "recurringruns"])
    assert requests[-1] == ("DELETE", f"/apis/v2beta1/recurringruns/{old}")
    assert (len(kfp.recurring_runs), old in kfp.recurring_runs) == (1, False)
    shown = capsys.readouterr().out
    assert "~ replace  weekly\n" in shown
    assert said in shown
    assert file.apply({**WEEKLY, **change}) == []


def test_a_changed_pipeline_is_uploaded_and_scheduled(file: File, kfp: KfpServer) -> None:
    file.apply(WEEKLY)
    compile_small(file.pipeline, "ssfr/train:2")
    file.apply(WEEKLY)
    (now,) = kfp.recurring_runs.values()
    assert [*kfp.versions][-1] == now.pipeline_version_reference.pipeline_version_id
    assert len(kfp.versions) == 2


def test_one_that_somebody_stopped_or_changed_is_put_right(file: File, kfp: KfpServer) -> None:
    file.apply(WEEKLY)
    (one,) = kfp.recurring_runs.values()
    one.mode, one.no_catchup = "DISABLE", None
    file.apply(WEEKLY)
    (now,) = kfp.recurring_runs.values()
    assert (now.mode, now.no_catchup) == ("ENABLE", True)


def test_what_is_no_longer_in_the_file_is_removed_and_what_is_not_ours_stays(
    file: File, kfp: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    file.apply({**WEEKLY, "name": "theirs"}, owner="others")
    file.apply(WEEKLY, {**NIGHTLY, "name": "by-hand"}, NIGHTLY)
    next(one for one in kfp.recurring_runs.values() if one.display_name == "by-hand").description = "mine"
    file.apply(NIGHTLY)
    assert names(kfp) == ["by-hand", "nightly", "theirs"]
    assert "- remove   weekly\n    no longer in the file\n" in capsys.readouterr().out
    file.apply()
    assert names(kfp) == ["by-hand", "theirs"]


def test_a_dry_run_shows_the_difference_and_changes_nothing(
    file: File, kfp: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert file.apply(WEEKLY, dry_run=True) == []
    file.apply(WEEKLY, NIGHTLY)
    capsys.readouterr()
    compile_small(file.pipeline, "ssfr/train:2")
    assert file.apply({**WEEKLY, "cron": "0 0 4 * * *"}, {**WEEKLY, "name": "new"}, dry_run=True) == []
    said = capsys.readouterr().out
    for line in (
        "~ replace  weekly",
        "    cron: '0 30 3 * * MON' -> '0 0 4 * * *'",
        "+ create   new",
        "- remove   nightly",
    ):
        assert f"{line}\n" in said
    assert "pipeline: version " in said
    assert said.endswith("nothing was changed (--dry-run)\n")
    assert names(kfp) == ["nightly", "weekly"]


def test_a_schedule_that_cannot_be_replaced_stays_as_it_was(file: File, kfp: KfpServer) -> None:
    file.apply(WEEKLY)
    old = dict(kfp.recurring_runs)
    kfp.faults = [Fault(500, "POST", "recurringruns")]
    with pytest.raises(KubeflowError, match="schedule weekly: the server failed"):
        file.apply({**WEEKLY, "max_concurrency": 3})
    assert kfp.recurring_runs == old


def test_what_an_interrupted_replacement_left_over_is_removed_the_next_time(
    file: File, kfp: KfpServer
) -> None:
    file.apply(WEEKLY)
    kfp.faults = [Fault(500, "DELETE")]
    with pytest.raises(KubeflowError):
        file.apply({**WEEKLY, "max_concurrency": 3})
    assert names(kfp) == ["weekly", "weekly"]
    file.apply({**WEEKLY, "max_concurrency": 3})
    (now,) = kfp.recurring_runs.values()
    assert now.max_concurrency == "3"


def test_one_that_another_removed_meanwhile_is_no_error(file: File, kfp: KfpServer) -> None:
    file.apply(WEEKLY)
    kfp.faults = [Fault(404, "DELETE")]
    assert [method for method, _ in file.apply()] == ["DELETE"]
    assert kfp.faults[0].times == 0


def test_all_pages_are_looked_at(pipeline: Path, tmp_path: Path) -> None:
    with kfp_server(page=1) as kfp:
        file = File(tmp_path, pipeline, kfp)
        many = [{**WEEKLY, "name": f"number-{number}"} for number in range(4)]
        file.apply(*many)
        assert file.apply(*many) == []


def test_a_cluster_of_several_users_is_reconciled_in_one_namespace(pipeline: Path, tmp_path: Path) -> None:
    with kfp_server(multi_user=True) as kfp:
        path = File(tmp_path, pipeline, kfp).path
        path.write_text(yaml.safe_dump({"schedules": [WEEKLY]}))
        schedule(path, host=kfp.endpoint, namespace="ada")
        assert {one.namespace for one in kfp.recurring_runs.values()} == {"ada"}


def one_schedule(**changes: Any) -> str:
    return yaml.safe_dump({"schedules": [{**WEEKLY, **changes}]})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            one_schedule(cron="30 3 * * 1"),
            "weekly: cron '30 3 * * 1': has five fields, and Kubeflow's has six",
        ),
        (one_schedule(cron="0 0 0 30 2 *"), "there is no such date"),
        (one_schedule(crom="x"), "unknown key 'schedules.0.crom' (did you mean 'cron'?)"),
        ("schedule: []", "the key 'schedules' is missing"),
        ("schedules: []\nowners: x", "unknown key 'owners' (did you mean 'owner'?)"),
        (yaml.safe_dump({"schedules": [WEEKLY, WEEKLY]}), "the name 'weekly' is used twice"),
        (one_schedule(name="Weekly!"), "schedules.0.name: string should match"),
        (
            one_schedule(max_concurrency=11),
            "schedules.0.max_concurrency: input should be less than or equal to 10",
        ),
        (one_schedule(pipeline="none.yaml"), "none.yaml: no such file; write it with ssfr compile"),
        (one_schedule(parameters={}), "weekly: small-study needs a value for workdir"),
        (one_schedule(parameters={"workdri": "x"}), "no parameter 'workdri' (did you mean 'workdir'?)"),
        (one_schedule(parameters={"workdir": 5}), "parameter 'workdir': expected text, found 5"),
        ("schedules: [", "not valid YAML"),
        ("- 1", "expected a mapping"),
        ("", "expected a mapping"),
    ],
)
def test_a_file_with_a_mistake_is_refused_in_one_line_before_the_cluster_is_asked(
    file: File, text: str, said: str
) -> None:
    line = file.refused(text)
    assert line.startswith(str(file.path))
    assert said in line


def test_a_file_that_there_is_not_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file; name one with --file"):
        schedule(tmp_path / "none.yaml")


def test_the_example_retrains_the_compiled_study_every_monday(tmp_path: Path) -> None:
    places: dict[str, Any] = {name: f"s3://bucket/{name}" for name in ("data", "workdir", "repository")}
    settings = load_settings(preset_path("recommended"))
    compiled = compile_pipeline(settings, preset="recommended", **places)
    (tmp_path / "ssfr-recommended.yaml").write_text(compiled)
    (tmp_path / "schedules.yaml").write_text((ROOT / "k8s/schedules.yaml").read_text())
    owner, (weekly,) = read_schedules(tmp_path / "schedules.yaml")
    assert (owner, weekly.pipeline.name) == ("ssfr", "ssfr-recommended")
    assert (weekly.schedule.cron, weekly.schedule.max_concurrency) == ("0 30 3 * * MON", 1)
