#!/usr/bin/env python3
"""FasterTransformer's name for a profile of the whole model: the same program as profile_transformer_inference.py, whose steps are
from token ids to the sequence output. See its --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from profile_transformer_inference import main  # noqa: E402

if __name__ == "__main__":
    main()
