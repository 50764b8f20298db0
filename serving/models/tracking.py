"""MLflow, as the settings say where it is: runs, registered models, and the aliases of versions.

On the embedded profile that is one file and a folder in the home; no server runs. A model is stored
in skops' format: to load it runs no code but that of the types that are named here.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import mlflow
import mlflow.artifacts
import mlflow.sklearn
import pandas as pd
import sklearn
import skops
from matplotlib.figure import Figure
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from lakehouse.errors import LakehouseError
from lakehouse.settings import Settings
from serving.models.estimators import SEED

CHAMPION, CHALLENGER = "champion", "challenger"
# What an example of a request shows.
EXAMPLE_ROWS = 3
# Enough to tell distributions apart that differ by a few in a hundred.
REFERENCE_ROWS = 5_000
_REFERENCE = "reference.csv"
_TRUSTED = [
    "serving.models.estimators.BoostedVolatility",
    "serving.models.estimators.IsolatedTrades",
    "serving.models.estimators.LastKnown",
    "serving.models.estimators.RobustZScore",
    # A forged one could crash the process: only who may write to the registry could forge it.
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
]


class UnknownModelError(LakehouseError):
    """The registry has no such model, or none under this alias."""


@dataclass(frozen=True)
class Trained:
    """What a run of training tells MLflow.

    Attributes:
        candidate: What was trained, by name.
        estimator: The fitted model.
        inputs: What it was trained on: some of it is kept, to hold later days against.
        params: How it was trained.
        metrics: How well it did.
        tags: What it was trained on.
        pictures: By file name.
    """

    candidate: str
    estimator: Any
    inputs: pd.DataFrame
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    pictures: Mapping[str, Figure] = field(default_factory=dict)


class Tracking:
    """One installation's MLflow. What it is told of its address holds for the whole process.

    Args:
        settings: Where MLflow is, and as whom it is spoken to.
    """

    def __init__(self, settings: Settings) -> None:
        self._artifacts = settings.mlflow_artifacts
        if self._artifacts:
            (settings.home / "mlflow").mkdir(parents=True, exist_ok=True)
        for name, value in _environment(settings).items():
            os.environ[name] = value
        mlflow.set_tracking_uri(settings.mlflow_address)
        self.client = mlflow.MlflowClient(settings.mlflow_address)

    def register(self, model: str, trained: Trained) -> int:
        """Log a run of training, register what came of it; return the version's number."""
        with mlflow.start_run(
            experiment_id=self._experiment(model), run_name=trained.candidate, tags={**trained.tags}
        ):
            mlflow.log_params({**trained.params})
            mlflow.log_metrics({**trained.metrics})
            for name, picture in trained.pictures.items():
                mlflow.log_figure(picture, f"pictures/{name}")
            kept = min(len(trained.inputs), REFERENCE_ROWS)
            sample = trained.inputs.sample(kept, random_state=SEED)
            mlflow.log_text(sample.to_csv(index=False), _REFERENCE)
            example = trained.inputs.head(EXAMPLE_ROWS)
            logged = mlflow.sklearn.log_model(
                trained.estimator,
                name=model,
                signature=infer_signature(example, trained.estimator.predict(example)),
                input_example=example,
                # Said here, since to find out it would start a process of its own.
                pip_requirements=[
                    f"scikit-learn=={sklearn.__version__}",
                    f"skops=={skops.__version__}",
                ],
                skops_trusted_types=_TRUSTED,
                registered_model_name=model,
            )
        version = int(logged.registered_model_version)
        self.client.set_model_version_tag(model, str(version), "candidate", trained.candidate)
        return version

    def version(self, model: str, alias: str) -> ModelVersion:
        """Return the version of a model that an alias stands for.

        Raises:
            UnknownModelError: There is none.
        """
        found = self.find(model, alias)
        if found is None:
            raise UnknownModelError(
                f"{model} has no {alias}: run `lakehouse models train`"
                + ("" if alias == CHALLENGER else ", then `lakehouse models promote`")
            )
        return found

    def find(self, model: str, alias: str) -> ModelVersion | None:
        """Return the version of a model that an alias stands for; None without any."""
        try:
            return self.client.get_model_version_by_alias(model, alias)
        except MlflowException as error:
            # A model without this alias is an argument that it does not know.
            if error.error_code in (
                ErrorCode.Name(RESOURCE_DOES_NOT_EXIST),
                "INVALID_PARAMETER_VALUE",
            ):
                return None
            raise

    def point(self, model: str, alias: str, version: int) -> None:
        """Let an alias stand for a version."""
        self.client.set_registered_model_alias(model, alias, str(version))

    def load(self, version: ModelVersion) -> Any:
        """Load the estimator of a version."""
        return mlflow.sklearn.load_model(f"models:/{version.name}/{version.version}")

    def params_of(self, version: ModelVersion) -> dict[str, str]:
        """Return how a version was trained."""
        return dict(self.client.get_run(str(version.run_id)).data.params)

    def reference_of(self, version: ModelVersion) -> pd.DataFrame:
        """Return some of what a version was trained on; the snapshot it is of may be gone."""
        text = mlflow.artifacts.load_text(f"runs:/{version.run_id}/{_REFERENCE}")
        return pd.read_csv(StringIO(text))

    def versions(self) -> Iterator[dict[str, Any]]:
        """Yield every version of every model, newest first: aliases, candidate, metrics, inputs."""
        for model in self.client.search_registered_models():
            names: dict[int, list[str]] = {}
            for alias, number in model.aliases.items():
                names.setdefault(int(number), []).append(alias)
            found = self.client.search_model_versions(f"name = '{model.name}'")
            for version in sorted(found, key=lambda one: -int(one.version)):
                run = self.client.get_run(str(version.run_id))
                yield {
                    "model": model.name,
                    "version": int(version.version),
                    "candidate": version.tags.get("candidate"),
                    "aliases": sorted(names.get(int(version.version), [])),
                    "metrics": dict(sorted(run.data.metrics.items())),
                    "run_id": version.run_id,
                }

    def _experiment(self, name: str) -> str:
        known = self.client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        place = f"{self._artifacts}/{name}" if self._artifacts else None
        return str(self.client.create_experiment(name, artifact_location=place))


def _environment(settings: Settings) -> dict[str, str]:
    """Return what MLflow's client takes from the environment only."""
    password = settings.mlflow_password
    values = {
        "MLFLOW_TRACKING_USERNAME": settings.mlflow_username,
        "MLFLOW_TRACKING_PASSWORD": password.get_secret_value() if password else None,
        "MLFLOW_TRACKING_SERVER_CERT_PATH": str(settings.ca_file) if settings.ca_file else None,
        # The server would send us to its store, which it alone is to speak to.
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "false",
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "false",
        # Of a server's runs it would print addresses where a program reads JSON.
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    return {name: value for name, value in values.items() if value} if settings.mlflow else {}
