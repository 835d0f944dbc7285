"""Settings of the networks: their training and their evaluation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import model_validator

from ssfr.components.config.models import ModelSections
from ssfr.components.config.section import Field, Positive, Section


class TrainingSettings(ModelSections):
    """Which network is trained, and how."""

    optimizer: Literal["adamw", "adadelta"] = Field("adamw", description="adadelta: the thesis' [16]")
    learning_rate: Positive | None = Field(
        None,
        description="None: 5e-3 for compact, 2e-4 for the head of vgg16 (more kills its single filter); for adadelta 1.0, old Keras' rate, where tf.keras has 0.001 [16]",
    )
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["constant", "cosine"] = "cosine"
    batch: int = Field(32, ge=1)
    epochs: int = Field(60, ge=1)
    patience: int | None = Field(
        None, ge=1, description="epochs without a better validation loss; None: never stop early"
    )
    keep: Literal["best_validation", "best_training", "last"] = Field(
        "best_validation", description="which weights are used [17]"
    )
    loss: Literal["gaussian_nll", "mse"] = Field(
        "gaussian_nll", description="the first predicts its own uncertainty [14]"
    )
    augment: bool = Field(
        True,
        description="flips and quarter turns of the maps (of models that see images); right where a map has no up, as face-on",
    )
    seeds: int = Field(
        3, ge=1, description="networks a case, from seed, seed + 1, ...; the first is the one that is served"
    )
    restarts: int = Field(
        2,
        ge=0,
        description="fresh starts of a network that dies or diverges, from other weights; reported [14]",
    )
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (),
        description="epochs after which the first network is kept as well; those after the last are ignored",
    )
    checkpoint_every: int = Field(5, ge=1, description="epochs", changes_result=False)
    deterministic: bool = Field(True, description="same seed, same threads: same result, bit for bit")
    threads: int = Field(
        2, ge=1, description="of one case; of another number, sums differ in their last bits"
    )
    workers: int = Field(
        1,
        ge=1,
        description="cases trained at the same time; on one machine, Kubeflow's runner does two at most",
        changes_result=False,
    )

    @property
    def rate(self) -> float:
        """The learning rate, chosen here where the setting is None."""
        if self.learning_rate is not None:
            return self.learning_rate
        if self.optimizer == "adadelta":
            return 1.0
        return self.section.default_rate

    @model_validator(mode="after")
    def _loss_fits_model(self) -> Self:
        losses = self.section.losses
        if self.loss not in losses:
            raise ValueError(
                f"the outputs of {self.model} do not fit loss: {self.loss}: use loss: {losses[0]}"
            )
        return self


class EvaluationSettings(Section):
    """Scores, intervals and the report."""

    bootstrap: int = Field(1000, ge=100, description="resamples (of groups, not of rows)")
    interval: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(
        0.68, description="probability of the predicted interval"
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(
        0.95, description="of the bootstrap intervals of scores"
    )
    export: Literal["none", "thesis"] = Field(
        "none", description="thesis: also write the thesis' own files, YValues.npy, allsfr.pkl and valid.pkl"
    )
    audit_case: str | None = Field(
        None,
        description="case that is trained again under random, tree-grouped and halo-grouped splits of equal sizes [12]",
    )
