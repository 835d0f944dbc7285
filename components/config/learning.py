"""Settings of the networks: their training and their evaluation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ssfr.components.config.section import Positive, Section


class CompactSettings(Section):
    """The small network trained from scratch."""

    input_pixels: int = Field(
        64,
        ge=16,
        description="a side; maps are reduced to four means of each block of pixels, up to the largest",
    )
    local_widths: tuple[int, ...] = Field((16, 16), min_length=1, description="layers that see single pixels")
    widths: tuple[int, ...] = Field(
        (16, 32), max_length=4, description="channels of each stage of convolutions; each halves the image"
    )
    dense: int = Field(64, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1, description="of what the convolutions say")


class Vgg16Settings(Section):
    """The thesis' network: frozen VGG16, trained head (309,186 parameters)."""

    weights: str = Field(
        "imagenet",
        description="imagenet (Keras' cache), the path of the published no-top file, or random (on explicit request)",
    )
    features: Literal["bfloat16", "float32"] = Field(
        "bfloat16", description="type in which features are computed and cached"
    )
    preprocess_input: bool = Field(True, description="false: raw 0..255 [15]")
    last_activation: Literal["linear", "relu"] = Field(
        "linear", description="relu can die and cannot go below 0 [14]"
    )
    feature_batch: int = Field(16, ge=1)


class TrainingSettings(Section):
    """How a network is trained."""

    model: Literal["compact", "vgg16"] = "compact"
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
        True, description="flips and quarter turns of face-on maps (compact only; a face-on view has no up)"
    )
    seeds: int = Field(
        3, ge=1, description="networks a case, from seed, seed + 1, ...; the first is the one that is served"
    )
    restarts: int = Field(
        2, ge=0, description="fresh starts of a network that dies or diverges, from other weights; told [14]"
    )
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (),
        description="epochs after which the first network is kept as well; those after the last are ignored",
    )
    checkpoint_every: int = Field(5, ge=1, description="epochs")
    deterministic: bool = Field(True, description="same seed, same threads: same result, bit for bit")
    threads: int = Field(
        2, ge=1, description="of one case; of another number, sums differ in their last bits"
    )
    workers: int = Field(
        1,
        ge=1,
        description="cases trained at the same time; on one machine, Kubeflow's runner does two at most",
    )
    compact: CompactSettings = CompactSettings()
    vgg16: Vgg16Settings = Vgg16Settings()

    @property
    def rate(self) -> float:
        """The learning rate, chosen here where the setting is None."""
        if self.learning_rate is not None:
            return self.learning_rate
        if self.optimizer == "adadelta":
            return 1.0
        return 5e-3 if self.model == "compact" else 2e-4

    @model_validator(mode="after")
    def _loss_fits_model(self) -> Self:
        if self.model == "vgg16" and self.loss == "gaussian_nll":
            raise ValueError("the head of vgg16 has one output: use loss: mse")
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
