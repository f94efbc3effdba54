"""TensorFlow takes all of a GPU's memory unless told otherwise; several test processes share one GPU here."""

import os

os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
