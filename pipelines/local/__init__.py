"""The pipeline on this machine."""

from ssfr.pipelines.local.runner import Data, Outcome, check, run

__all__ = ["Data", "Outcome", "check", "run"]
