"""Step 8: check the live service on held-out galaxies; undo the deployment if it answers otherwise."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ssfr.components.config import Settings
from ssfr.components.deployment.held_out import CHECKED, largest_difference, predict_served
from ssfr.components.errors import InputError
from ssfr.components.imagesets.reader import MapReader
from ssfr.components.results.files import read_predictions
from ssfr.components.runtime.progress import Progress
from ssfr.components.serving.client.client import ModelClient
from ssfr.components.serving.repository.folder import STABLE
from ssfr.components.serving.repository.remote import RemoteRepository
from ssfr.components.storage.artifact import read_json, write_json


def run(
    output: Path,
    deployed_dir: Path,
    evaluation_dir: Path,
    maps_dir: Path,
    prepared_dir: Path,
    repository: str,
    settings: Settings,
    progress: Progress,
) -> dict[str, Any]:
    """Compare what every server of ``deployment.servers`` answers with the offline predictions.

    A version that was not promoted is not checked: the servers hold the stable one.

    Parameters
    ----------
    output
        Exists; verification.json is written there.
    deployed_dir, evaluation_dir, maps_dir, prepared_dir
        Of the other steps.
    repository
        That the servers follow: a folder, or ``s3://bucket/prefix``.
    settings
        deployment, serving and storage are used.
    progress
        Shows each server's largest difference.

    Returns
    -------
    dict
        version, label, galaxies, and server -> largest difference [dex].

    Raises
    ------
    InputError
        A server does not answer with the version within ``serving.rollout_s``, or answers
        otherwise than offline: the labels are as they were before the deployment, and the message says so.
    """
    deployed = read_json(deployed_dir / "deployment.json")
    version, label = deployed["version"], deployed["label"]
    found = {"model": deployed["model"], "version": version, "label": label, "differences_dex": {}}
    if label != STABLE:
        progress.say(f"version {version} is not promoted: live servers answer as before, and are not checked")
        write_json(output / "verification.json", found)
        return found
    models = RemoteRepository(repository, deployed["model"], settings.storage, progress)
    _check_label(models, label, version)
    predictions = read_predictions(evaluation_dir)
    of_case = predictions[(predictions["case"] == deployed["case"]) & (predictions["split"] == "test")]
    test = of_case.head(CHECKED).reset_index(drop=True)
    galaxies = pd.read_parquet(prepared_dir / "galaxies.parquet").set_index("galaxy", drop=False)
    try:
        with MapReader(maps_dir, galaxies.loc[test["galaxy"]]) as reader:
            found["differences_dex"] = _differences(reader, test, deployed, settings, progress)
    except Exception as error:
        # Whatever went wrong, a version that no live server was seen to serve rightly does not stay.
        back = _undo(models, deployed, str(error))
        if isinstance(error, InputError):
            raise InputError(f"{error}; {back}") from None
        progress.warn(back)
        raise
    found["galaxies"] = len(test)
    write_json(output / "verification.json", found)
    return found


def _differences(
    reader: MapReader, test: pd.DataFrame, deployed: dict[str, Any], settings: Settings, progress: Progress
) -> dict[str, float]:
    """Return server -> largest difference [dex]."""
    version, label = deployed["version"], deployed["label"]
    differences = {}
    for server in settings.deployment.servers:
        with ModelClient.of(settings.serving, server, deployed["model"], label=label) as client:
            deadline = time.monotonic() + settings.serving.rollout_s
            client.wait_for(version, partial(predict_served, client, reader, 1), deadline)
            difference = largest_difference(predict_served(client, reader), test)
        if not difference <= settings.deployment.tolerance_dex:
            raise InputError(
                f"{server}: version {version} answers {difference:.3g} dex off the offline predictions, more"
                f" than deployment.tolerance_dex {settings.deployment.tolerance_dex:g}"
            )
        differences[server] = difference
        progress.say(f"{server}: {len(test)} held-out galaxies within {difference:.1e} dex of offline")
    return differences


def _check_label(models: RemoteRepository, label: str, version: int) -> None:
    """Refuse a version whose label is gone, as after an attempt that undid the deployment."""
    champion = models.read().champion
    if champion.labels.get(label) == version:
        return
    entries = [entry for entry in champion.history if entry["version"] == version]
    reason = entries[-1].get("reason", "") if entries else "it was moved by hand"
    raise InputError(f"{models}: version {version} is not labelled {label} any more: {reason}")


def _undo(models: RemoteRepository, deployed: dict[str, Any], reason: str) -> str:
    """Put the labels back as they were before a deployment, unless others moved them since; say so."""
    version, label = deployed["version"], deployed["label"]
    try:
        now = models.read()
        if now.champion.labels.get(label) != version:
            return "its label was moved since by another deployment or roll-out, and stays"
        there = models.versions()
        before = {name: int(one) for name, one in deployed["labels_before"].items() if one in there}
        if before.get(label) == version:
            return f"it was {label} before this deployment, and stays; ssfr rollback goes to the one before"
        line = {"version": version, "promoted": False, "reason": reason}
        after = models.write(now, now.champion.noted(before, line)).champion
    except InputError as error:
        return f"the deployment could NOT be undone: {error}"
    return f"the deployment is undone: stable is {after.version or 'no version'}"
