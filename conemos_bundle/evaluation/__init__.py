"""Evaluation: metrics per scan and region, tables and pictures."""

from conemos_bundle.evaluation.report import EvaluationReport

__all__ = ["EvaluationReport"]
