"""Evaluation: metrics per scan and region, tables and pictures."""

from conemos_bundle.evaluation.report import EvaluationReport, evaluation_folder
from conemos_bundle.evaluation.warn import warn_of_run

__all__ = ["EvaluationReport", "evaluation_folder", "warn_of_run"]
