"""The pipeline on this machine."""

from ssfr.pipelines.local.runner import DataSource, Outcome, check, run

__all__ = ["DataSource", "Outcome", "check", "run"]
