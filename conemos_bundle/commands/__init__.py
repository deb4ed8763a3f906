"""The functions behind the command ``conemos``; a script or a notebook can call them as well."""

from conemos_bundle.commands.check import check
from conemos_bundle.commands.datalist import datalist
from conemos_bundle.commands.experiments import experiments
from conemos_bundle.commands.export import export
from conemos_bundle.commands.import_keras import import_keras
from conemos_bundle.commands.label_app import label_app
from conemos_bundle.commands.pack import pack
from conemos_bundle.commands.phantom import phantom
from conemos_bundle.commands.predict import predict
from conemos_bundle.commands.report import report
from conemos_bundle.commands.train import evaluate, train

__all__ = [
    "check",
    "datalist",
    "evaluate",
    "experiments",
    "export",
    "import_keras",
    "label_app",
    "pack",
    "phantom",
    "predict",
    "report",
    "train",
]
