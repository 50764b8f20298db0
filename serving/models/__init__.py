"""Models: trained on gold, registered in MLflow, promoted where they are better, scored."""

import os

# MLflow reads these when it is imported. It tells nobody outside what is done with it, and leaves
# to us what is said.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
