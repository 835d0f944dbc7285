"""Step 7: ask the live service for held-out galaxies; undo the deployment if it answers otherwise."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from components.config import Settings
from components.errors import InputError
from components.imagesets.reader import MapReader
from components.progress import Progress
from components.serving.client import Client
from components.serving.held_out import CHECKED, ask, largest_difference
from components.serving.remote import RemoteRepository
from components.serving.repository import Champion
from components.storage.artifact import read_json, write_json

_LOOK_S = 1.0


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
        Is told each server's answer.

    Returns
    -------
    dict
        version, label, galaxies, and server -> largest difference [dex].

    Raises
    ------
    InputError
        A server does not come to answer with the version within ``serving.rollout_s``, or answers
        otherwise than offline: the labels are as they were before the deployment, and the message says so.
    """
    deployed = read_json(deployed_dir / "deployment.json")
    version, label = deployed["version"], deployed["label"]
    predictions = pd.read_parquet(evaluation_dir / "predictions.parquet")
    of_case = predictions[(predictions["case"] == deployed["case"]) & (predictions["split"] == "test")]
    test = of_case.head(CHECKED).reset_index(drop=True)
    galaxies = pd.read_parquet(prepared_dir / "galaxies.parquet").set_index("galaxy", drop=False)
    differences = {}
    try:
        with MapReader(maps_dir, galaxies.loc[test["galaxy"]]) as reader:
            for server in settings.deployment.servers:
                client = Client(server, settings.serving, deployed["model"], label=label)
                with client:
                    _wait(client, reader, label, version, settings.serving.rollout_s)
                    difference = largest_difference(ask(client, reader), test)
                if not difference <= settings.deployment.tolerance_dex:
                    raise InputError(
                        f"{server}: version {version} answers {difference:.3g} dex off the offline"
                        f" predictions, more than deployment.tolerance_dex"
                        f" {settings.deployment.tolerance_dex:g}"
                    )
                differences[server] = difference
                progress.say(
                    f"{server}: {len(test)} held-out galaxies within {difference:.1e} dex of offline"
                )
    except InputError as error:
        models = RemoteRepository(repository, deployed["model"], settings.storage, progress)
        raise InputError(f"{error}; {_undo(models, deployed, str(error))}") from None
    found = {
        "model": deployed["model"],
        "version": version,
        "label": label,
        "galaxies": len(test),
        "differences_dex": differences,
    }
    write_json(output / "verification.json", found)
    return found


def _wait(client: Client, reader: MapReader, label: str, version: int, patience_s: float) -> None:
    """Wait until a label is a version on a server."""
    deadline = time.monotonic() + patience_s
    first = reader.maps([0])
    while True:
        try:
            answers: Sequence[int] = (
                client.predict_images(first.transpose(0, 2, 3, 1))
                if reader.attributes.is_images
                else client.predict_maps(first)
            ).versions.tolist()
            if answers == [version]:
                return
            reason = f"version {answers[0]} answers"
        except InputError as error:
            reason = str(error)
        if time.monotonic() >= deadline:
            raise InputError(
                f"{client.address}: label '{label}' was not version {version} within {patience_s:g} s"
                f" ({reason})"
            )
        time.sleep(_LOOK_S)


def _undo(models: RemoteRepository, deployed: dict[str, Any], reason: str) -> str:
    """Put the labels back as they were before a deployment, unless others moved them since."""
    now = models.read()
    if now.champion.labels.get(deployed["label"]) != deployed["version"]:
        return "its label was moved since by another deployment or roll-out, and stays"
    before = {label: int(version) for label, version in deployed["labels_before"].items()}
    line = {"version": deployed["version"], "promoted": False, "reason": reason}
    after: Champion = now.champion.noted(before, line)
    models.write(now, after)
    return f"the deployment is undone: stable is {after.version or 'no version'}"
