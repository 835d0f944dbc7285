"""The pipeline on this machine."""

from ssfr.pipelines.local.runner import Data, Outcome, run

__all__ = ["Data", "Outcome", "run"]
