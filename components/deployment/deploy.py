"""Step 6: export the best model, check it in service, and promote it if it beats the champion."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssfr.components.config import ServingSettings, Settings
from ssfr.components.deployment.export import Example, describe, export
from ssfr.components.deployment.held_out import CHECKED, largest_difference, predict_served
from ssfr.components.deployment.promotion import (
    Candidate,
    ChampionScore,
    Verdict,
    decide,
    score_champion,
    study_of,
)
from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.imagesets.reader import MapReader
from ssfr.components.models.folder import failure
from ssfr.components.models.predictor import Predictor
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.serving.client.answer import Answer
from ssfr.components.serving.client.client import ModelClient
from ssfr.components.serving.repository.folder import CANARY, STABLE, Champion, ModelFolder
from ssfr.components.serving.repository.remote import Labels, RemoteRepository
from ssfr.components.serving.server.servable import Servable
from ssfr.components.serving.server.server import Server
from ssfr.components.storage.artifact import read_json, write_json

_WARMUP = 2


def run(
    output: Path,
    model_dirs: Mapping[str, Path],
    evaluation_dir: Path,
    maps_dir: Path,
    prepared_dir: Path,
    repository: str,
    settings: Settings,
    progress: Progress,
) -> dict[str, Any]:
    """Put the best model into the repository, and write deployment.json.

    The version is built and served from a folder of its own first: held-out galaxies are sent to it over
    gRPC, and only if the answers equal the offline predictions does it get its number. A model that is in
    the repository already gets no second version.

    Parameters
    ----------
    output
        Exists.
    model_dirs
        Case -> folder of its model.
    evaluation_dir, maps_dir, prepared_dir
        Of the other steps.
    repository
        A folder, or ``s3://bucket/prefix``: <repository>/<deployment.name>/<version>/ and champion.json are
        written there.
    settings
        deployment, serving and storage are used.
    progress
        Shows the decision.

    Returns
    -------
    dict
        version, label, promoted, reason, the figures of the decision and of the check in service.

    Raises
    ------
    InputError
        No test galaxies, a missing or damaged artifact, or another deployment was faster.
    RuntimeError
        The served answers differ from the offline ones; nothing was deployed.
    """
    candidate = Candidate.read(evaluation_dir)
    if candidate.case not in model_dirs or failure(model_dirs[candidate.case]) is not None:
        raise InputError(f"{evaluation_dir}: best case '{candidate.case}' has no model; evaluate again")
    model_dir = model_dirs[candidate.case]
    galaxies = pd.read_parquet(prepared_dir / "galaxies.parquet").set_index("galaxy", drop=False)
    test = candidate.of("test").head(CHECKED)
    if test.empty:
        raise InputError(f"{evaluation_dir}: no test galaxies to check the service with; raise split.test")
    predictor = Predictor.load(model_dir)
    study = study_of(settings)
    description = describe(predictor, model_dir, study)
    models = RemoteRepository(repository, settings.deployment.name, settings.storage, progress)
    with (
        tempfile.TemporaryDirectory(prefix="ssfr-deployment-", dir=settings.storage.scratch) as scratch,
        MapReader(maps_dir, galaxies.loc[test["galaxy"]]) as reader,
    ):
        here, trial = ModelFolder(Path(scratch) / "models", models.name), Path(scratch) / "trial"
        version = _usable_version(models, here, description["model_digest"], progress)
        candidate_dir = trial / models.name / "1"
        candidate_dir.parent.mkdir(parents=True)
        if version is None:
            progress.say(f"exporting {candidate.case}")
            example = Example.of(reader.maps(np.arange(min(_WARMUP, len(reader)))), predictor.spec)
            export(model_dir, candidate_dir, models.name, example, study, settings.deployment.warmup)
        else:
            progress.say(f"{candidate.case} is in the repository already, as version {version}")
            shutil.copytree(here.version_path(version), candidate_dir, copy_function=os.link)
        served = predict_by_own_server(trial, models.name, reader, settings.serving)
        difference = largest_difference(served, test)
        if not difference <= settings.deployment.tolerance_dex:
            raise RuntimeError(
                f"served predictions differ from the offline ones by {difference:.3g} dex, more than "
                f"deployment.tolerance_dex {settings.deployment.tolerance_dex:g}; nothing was deployed"
            )
        if version is None:
            version = models.publish(candidate_dir)
        labels = models.read()
        verdict = _verdict(
            candidate,
            models,
            here,
            labels.champion.version,
            version,
            description,
            maps_dir,
            galaxies,
            settings,
            progress,
        )
        labels = _label(models, labels, version, candidate.case, verdict)
        removed = models.prune(settings.deployment.keep_versions)
    label = STABLE if verdict.promoted else CANARY
    said = f"{models.name} version {version} ({candidate.case}) is labelled {label}: {verdict.reason}"
    (progress.say if verdict.promoted else progress.warn)(said)
    result = {
        "model": models.name,
        "model_digest": description["model_digest"],
        "case": candidate.case,
        "version": version,
        "label": label,
        "promoted": verdict.promoted,
        "champion": labels.champion.version,
        "labels_before": _labels_before(labels.champion, version),
        "reason": verdict.reason,
        "decision": dict(verdict.figures),
        "served_galaxies": len(test),
        "max_difference_dex": difference,
        "tolerance_dex": settings.deployment.tolerance_dex,
        "example": _shown(test, served),
        "removed_versions": removed,
    }
    write_json(output / "deployment.json", result)
    return result


def still_deployed(deployed_dir: Path, repository: str, settings: Settings) -> bool:
    """Return whether a repository still holds a model under the label that an earlier deployment gave it."""
    deployed = read_json(deployed_dir / "deployment.json")
    models = RemoteRepository(repository, deployed["model"], settings.storage)
    now = models.read().champion
    labelled = (
        now.labels.get(deployed["label"]) == deployed["version"] and now.version == deployed["champion"]
    )
    return labelled and models.find(deployed["model_digest"]) == deployed["version"]


def predict_by_own_server(
    repository: Path, name: str, reader: MapReader, settings: ServingSettings
) -> Answer:
    """Start our own server on a free port, and send it all galaxies of a reader over gRPC."""
    local = settings.model_copy(
        update={
            "host": "127.0.0.1",
            "port": 0,
            "tls_certificate": None,
            "tls_key": None,
            "tls_client_ca": None,
            "tls_server_ca": None,
            "tls_client_certificate": None,
            "tls_client_key": None,
        }
    )
    with (
        Server(repository, local, SILENT) as server,
        ModelClient.of(local, server.address, name) as client,
    ):
        problems = [status.problem for status in client.status() if status.problem]
        if problems:
            raise RuntimeError(f"the exported model can't be served: {problems[0]}")
        return predict_served(client, reader)


def _usable_version(
    models: RemoteRepository, here: ModelFolder, digest: str, progress: Progress
) -> int | None:
    """Return the version that holds a model already, if it can be loaded on this machine; bring it here."""
    version = models.find(digest)
    if version is None:
        return None
    try:
        models.bring(here, version)
    except DamagedArtifactError as error:
        progress.warn(f"{error}; exporting it anew")
        return None
    try:
        Servable.load(here.version_path(version), here.name, version)
    except InputError as error:
        progress.warn(f"{error}; exporting it anew")
        return None
    return version


def _verdict(
    candidate: Candidate,
    models: RemoteRepository,
    here: ModelFolder,
    champion: int | None,
    version: int,
    description: Mapping[str, Any],
    maps_dir: Path,
    galaxies: pd.DataFrame,
    settings: Settings,
    progress: Progress,
) -> Verdict:
    """Decide between a version and the champion, which is brought here for that."""
    if champion == version:
        return Verdict(True, "it is the champion already", {"champion": champion})
    champion_score: ChampionScore | None = None
    if champion is not None:
        held_out = candidate.of("promotion")
        try:
            if champion in models.versions():
                models.bring(here, champion)
        except DamagedArtifactError as error:
            champion_score = ChampionScore(champion, problem=str(error), usable=False)
        else:
            with MapReader(maps_dir, galaxies.loc[held_out["galaxy"]]) as reader:
                true = held_out["label"].to_numpy()
                champion_score = score_champion(
                    here.version_path(champion), description, reader, true, progress
                )
    return decide(candidate, champion_score, settings.deployment)


def _label(models: RemoteRepository, labels: Labels, version: int, case: str, verdict: Verdict) -> Labels:
    """Write the decision, unless it stands there already."""
    wanted = STABLE if verdict.promoted else CANARY
    if labels.champion.labels.get(wanted) == version:
        return labels
    entry = {
        "case": case,
        "reason": verdict.reason,
        "figures": dict(verdict.figures),
        "labels_before": dict(labels.champion.labels),
    }
    return models.decide(labels, version, verdict.promoted, entry)


def _labels_before(champion: Champion, version: int) -> dict[str, int]:
    """Return the labels before the last decision on a version, which an earlier attempt may have made."""
    for entry in reversed(champion.history):
        if entry["version"] == version and "labels_before" in entry:
            return dict(entry["labels_before"])
    return dict(champion.labels)


def _shown(test: pd.DataFrame, served: Answer) -> dict[str, Any]:
    """Return one galaxy that no model was trained on: its label as true, predicted offline and served."""
    return {
        "galaxy": str(test["galaxy"].iloc[0]),
        "true": float(test["label"].iloc[0]),
        "offline": float(test["predicted"].iloc[0]),
        "served": float(served.predicted[0]),
        "lower": float(served.lower[0]),
        "upper": float(served.upper[0]),
    }
