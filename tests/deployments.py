"""What a deployment needs, small and real: maps, models, an evaluation, and a repository."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from declared_files import fill_in
from exported_models import image_spec, map_spec, random_maps, random_pictures, serving, write_random_model
from kfp.dsl import Dataset
from training_samples import write_prepared

from ssfr.components.config import DeploymentSettings, Settings
from ssfr.components.deployment.component import deployment
from ssfr.components.deployment.deploy import run
from ssfr.components.models.predictor import Predictor
from ssfr.components.results.files import METRICS_FORMAT
from ssfr.components.runtime.progress import SILENT
from ssfr.components.serving.repository.folder import ModelFolder
from ssfr.components.steps.files import GALAXIES, METRICS, PREDICTIONS
from ssfr.components.storage.artifact import publish, write_json

SPLIT = np.array(["train"] * 4 + ["validation"] * 2 + ["test"] * 5 + ["promotion"] * 5)
_DECLARED = (GALAXIES, METRICS, PREDICTIONS)
BEST = -10.5
"""Offset [dex] of the model whose predictions are the truth of these tests."""


class Study:
    """Maps, a prepared table, models, and for each an evaluation; all in one folder."""

    def __init__(self, folder, images=False, **drawn):
        self.folder = folder
        self.spec = image_spec() if images else map_spec(**drawn)
        self.label = {}
        self.repository = folder / "models"
        count = len(SPLIT)
        self.maps = random_pictures(count).transpose(0, 3, 1, 2) if images else random_maps(count)
        truth = self.predict(self.model(BEST)).predicted.astype(float)
        self.maps_dir, self.prepared_dir = write_prepared(folder, self.maps, truth, SPLIT, **drawn)
        self.galaxies = pd.read_parquet(self.prepared_dir / "galaxies.parquet")

    def model(self, offset):
        folder = self.folder / f"model{offset}"
        return (
            folder if folder.exists() else write_random_model(folder, self.spec, offset=offset, **self.label)
        )

    def predict(self, model_dir):
        predictor = Predictor.load(model_dir)
        if self.spec.source == "images":
            return predictor.predict_images(np.ascontiguousarray(self.maps.transpose(0, 2, 3, 1)))
        return predictor.predict_maps(self.maps)

    def evaluation(self, offset, beats=True, wrong_by=0.0):
        folder = self.folder / f"evaluation{offset}{beats}{wrong_by}"
        folder.mkdir(exist_ok=True)
        not_beaten = [] if beats else ["baseline_profiles"]
        case = {"beats_baselines": beats, "not_beaten": not_beaten}
        (folder / "metrics.json").write_text(
            json.dumps({"format": METRICS_FORMAT, "best_case": "composite", "cases": {"composite": case}})
        )
        found = self.predict(self.model(offset))
        table = self.galaxies[["galaxy", "split", "label"]].assign(
            case="composite", predicted=found.predicted + wrong_by, lower=found.lower, upper=found.upper
        )
        table[table["split"] != "train"].to_parquet(folder / "predictions.parquet")
        return folder

    def deploy(self, offset, progress=SILENT, name="deployment", settings=None, study=None, **evaluated):
        output = self.folder / name
        output.mkdir(exist_ok=True)
        return run(
            output,
            {"composite": self.model(offset)},
            self.evaluation(offset, **evaluated),
            self.maps_dir,
            self.prepared_dir,
            str(self.repository),
            Settings(
                **{"serving": serving(), "deployment": settings or DeploymentSettings(), **(study or {})}
            ),
            progress,
        )

    def step(self, offset):
        """Deploy as the pipeline does, which does nothing twice."""
        folders = {
            "maps": self.maps_dir,
            "prepared": self.prepared_dir,
            "scores": self.evaluation(offset),
            "model": self.model(offset),
        }
        made = {name: self._artifact(folder) for name, folder in folders.items()}
        model = made.pop("model")
        model.metadata["case"] = "composite"
        deployed = Dataset(uri=str(self.folder / "deployed.json"))
        deployment.python_func(
            workdir=str(self.folder / "run"),
            settings=Settings(serving=serving()).model_dump_json(),
            repository=str(self.repository),
            models=[model],
            deployed=deployed,
            **made,
        )
        folder = Path(json.loads(Path(deployed.uri).read_text())["location"])
        result = json.loads((folder / "deployment.json").read_text())
        return result["version"], result["label"], result["model_digest"]

    def _artifact(self, folder):
        key = f"given/{re.sub('[^a-zA-Z0-9]', '_', folder.name)}"
        final, reference = self.folder / "run" / key, self.folder / f"{folder.name}.json"
        if not final.exists():
            shutil.copytree(folder, part := self.folder / "part")
            fill_in(part, *(file for file in _DECLARED if (part / file.pattern).exists()))
            publish(part, final, {"key": folder.name})
            write_json(reference, {"key": key})
        return Dataset(uri=str(reference))

    @property
    def served(self):
        return ModelFolder(self.repository, "ssfr")
