"""Evaluation: metrics per scan and region, tables and pictures."""

from conemos_bundle.evaluation.report import EvaluationReport, evaluation_folder

__all__ = ["EvaluationReport", "evaluation_folder"]
