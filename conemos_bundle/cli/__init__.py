"""The functions behind the command ``conemos``; a script or a notebook can call them as well."""

from conemos_bundle.cli.add_region import add_region, merge
from conemos_bundle.cli.bench import bench
from conemos_bundle.cli.check import check
from conemos_bundle.cli.datalist import datalist
from conemos_bundle.cli.demo import demo
from conemos_bundle.cli.experiments import experiments
from conemos_bundle.cli.export import export
from conemos_bundle.cli.federate import federate
from conemos_bundle.cli.import_keras import import_keras
from conemos_bundle.cli.info import info
from conemos_bundle.cli.label_app import label_app
from conemos_bundle.cli.pack import pack
from conemos_bundle.cli.phantom import phantom
from conemos_bundle.cli.predict import predict
from conemos_bundle.cli.report import report
from conemos_bundle.cli.train import evaluate, train

__all__ = [
    "add_region",
    "bench",
    "check",
    "datalist",
    "demo",
    "evaluate",
    "experiments",
    "export",
    "federate",
    "import_keras",
    "info",
    "label_app",
    "merge",
    "pack",
    "phantom",
    "predict",
    "report",
    "train",
]
