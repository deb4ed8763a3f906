"""As much of the MONAI Deploy App SDK 4.0.0 as the application uses, without Holoscan and its gigabytes.

It runs operators in the order of the flows, and keeps the stock operators' contracts: what they receive, call and emit.
`tests/integration/verify_deploy.py` runs the same application on the real SDK.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


class Image:
    def __init__(self, data: Any, metadata: dict | None = None) -> None:
        self._data, self._metadata = data, metadata or {}

    def asnumpy(self) -> Any:
        return self._data

    def metadata(self) -> dict:
        return self._metadata


class Operator:
    def __init__(self, fragment: Any, *args: Any, name: str = "", **kwargs: Any) -> None:
        self.name = name


class Application:
    def __init__(self) -> None:
        self.flows: list[tuple] = []

    def add_flow(self, source: Operator, target: Operator, ports: set) -> None:
        self.flows.append((source, target, ports))

    def run(self) -> None:
        self.compose()  # type: ignore[attr-defined]
        waiting = list(dict.fromkeys(operator for flow in self.flows for operator in flow[:2]))
        values: dict[tuple, Any] = {}
        done: list[Operator] = []
        while waiting:
            operator = next(
                one for one in waiting if all(source in done for source, target, _ in self.flows if target is one)
            )
            received = {
                port_in: values[source, port_out]
                for source, target, ports in self.flows
                for port_out, port_in in ports
                if target is operator
            }

            def emit(value: Any, port: str, operator: Operator = operator) -> None:
                values[operator, port] = value

            operator.compute(SimpleNamespace(receive=received.__getitem__), SimpleNamespace(emit=emit), None)  # type: ignore[attr-defined]
            done.append(operator)
            waiting.remove(operator)


class DICOMSeries:
    def __init__(self, uid: str) -> None:
        self.SeriesInstanceUID, self.instances = uid, []

    def add_sop_instance(self, dataset: Any) -> None:
        self.instances.append(SimpleNamespace(get_native_sop_instance=lambda: dataset))

    def get_sop_instances(self) -> list:
        return self.instances


class DICOMStudy:
    def __init__(self, uid: str) -> None:
        self.StudyInstanceUID, self.series = uid, []

    def add_series(self, series: DICOMSeries) -> None:
        self.series.append(series)


class DICOMDataLoaderOperator(Operator):
    def __init__(self, fragment: Any, *args: Any, input_folder: Path, **kwargs: Any) -> None:
        self.input_path = input_folder
        super().__init__(fragment, *args, **kwargs)

    def populate_study_attributes(self, study: DICOMStudy, dataset: Any) -> None:
        study.StudyID = dataset.StudyID

    def populate_series_attributes(self, series: DICOMSeries, dataset: Any) -> None:
        if "SeriesNumber" in dataset:
            series.SeriesNumber = int(dataset.SeriesNumber)  # where the SDK fails if it is empty

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        op_output.emit(self.load_data_to_studies(self.input_path), "dicom_study_list")  # type: ignore[attr-defined]


class DICOMSeriesSelectorOperator(Operator):
    def __init__(self, fragment: Any, *args: Any, rules: str, **kwargs: Any) -> None:
        super().__init__(fragment, *args, **kwargs)

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        op_output.emit(op_input.receive("dicom_study_list")[0].series, "study_selected_series_list")


class DICOMSeriesToVolumeOperator(Operator):
    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        series = op_input.receive("study_selected_series_list")[0]
        self.prepare_series(series)  # type: ignore[attr-defined]
        metadata = {"nifti_affine_transform": series.nifti_affine_transform}
        op_output.emit(Image(self.generate_voxel_data(series), metadata), "image")  # type: ignore[attr-defined]


def modules() -> dict[str, ModuleType]:
    """The SDK's modules, for `sys.modules`."""
    contents: dict[str, dict[str, Any]] = {
        "conditions": {"CountCondition": lambda *args: None},
        "core": {
            "Application": Application, "Image": Image, "Operator": Operator, "OperatorSpec": object,
        },
        "core.domain": {},
        "core.domain.dicom_series": {"DICOMSeries": DICOMSeries},
        "core.domain.dicom_study": {"DICOMStudy": DICOMStudy},
        "operators": {},
        "operators.dicom_data_loader_operator": {"DICOMDataLoaderOperator": DICOMDataLoaderOperator},
        "operators.dicom_series_selector_operator": {"DICOMSeriesSelectorOperator": DICOMSeriesSelectorOperator},
        "operators.dicom_series_to_volume_operator": {"DICOMSeriesToVolumeOperator": DICOMSeriesToVolumeOperator},
    }  # fmt: skip
    made = {"monai.deploy": ModuleType("monai.deploy")}
    for name, content in contents.items():
        made[f"monai.deploy.{name}"] = ModuleType(f"monai.deploy.{name}")
        vars(made[f"monai.deploy.{name}"]).update(content)
    return made
