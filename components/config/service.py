"""Settings of what users call: the model repository, the server and its client."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from ssfr.components.config.section import Positive, Section

_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")
_LARGEST_PORT = 65535


def check_address(text: str) -> str:
    """Return the address of a server.

    Raises
    ------
    ValueError
        It is not HOST:PORT.
    """
    parts = _ADDRESS.fullmatch(text)
    # gRPC takes a larger port for its remainder.
    if not parts or not 0 < int(parts[1]) <= _LARGEST_PORT:
        raise ValueError(f"'{text}': expected HOST:PORT with a port up to 65535, for example 127.0.0.1:8500")
    return text


class DeploymentSettings(Section):
    """From the best model to the repository that is served."""

    name: str = Field(
        "ssfr",
        pattern=r"^([A-Za-z]|[0-9]+[A-Za-z_-])[A-Za-z0-9_-]*$",
        max_length=63,
        description="of the model on the server; digits alone are a version's name",
    )
    margin_dex: float = Field(
        0.0, ge=0, description="[dex] by which the challenger's RMSE on the promotion set must be lower"
    )
    keep_versions: int = Field(3, ge=1)
    require_beats_baselines: bool = Field(
        True, description="a model that does not beat every baseline is not promoted"
    )
    warmup: bool = True
    tolerance_dex: Positive = Field(1e-4, description="[dex] served against offline")
    servers: tuple[Annotated[str, AfterValidator(check_address)], ...] = Field(
        (),
        description="HOST:PORT of each live server that must answer as offline after a deployment, or it is undone; none: no live server is checked",
    )


class ServingSettings(Section):
    """The gRPC server and its client."""

    changes_result: ClassVar[bool] = False

    host: str = Field("127.0.0.1", description="loopback by default: an open port is a decision")
    port: int = Field(8500, ge=0, le=65535, description="0: any free port")
    workers: int = Field(8, ge=1, description="calls answered at the same time; more are queued")
    max_message_mb: Positive = Field(64.0, description="[MB] request or answer")
    max_batch: int = Field(256, ge=1, description="galaxies in a request")
    poll_s: Positive = Field(2.0, description="[s] between looks at the model repository")
    grace_s: Positive = Field(10.0, description="[s] for calls under way at shutdown")
    deadline_s: Positive = Field(20.0, description="[s] a client waits for a request, retries included")
    retries: int = Field(
        4, ge=0, description="of the client, with exponential back-off, when the server is not there"
    )
    sync_s: Positive = Field(10.0, description="[s] between looks of model-sync at the model repository")
    retire_s: float = Field(
        60.0,
        ge=0,
        description="[s] that a version stays loaded after its last label went: labels move only once the next is loaded",
    )
    rollout_s: Positive = Field(
        120.0, description="[s] that promote and rollback wait for the server to answer with a version"
    )
    tls_certificate: str | None = Field(None, description="PEM file of the server; None: plaintext")
    tls_key: str | None = Field(None, description="PEM file of the server's key")
    tls_client_ca: str | None = Field(
        None, description="PEM file; set: clients must show a certificate it signed"
    )
    tls_server_ca: str | None = Field(
        None, description="client: PEM file that signed the server's certificate; None: plaintext"
    )
    tls_client_certificate: str | None = Field(
        None, description="client: PEM file, where the server requires one"
    )
    tls_client_key: str | None = Field(None, description="client: PEM file of that certificate's key")
