"""Which log lines are shown: Google's milestones, warnings and errors; not TensorFlow's notices of what became deprecated."""

from __future__ import annotations

import logging
import os
import re
import warnings

# What Google's scripts log for each of the first examples (a page each) and for each variable, what the Estimator says about
# its configuration, and what the progress bar says better.
_NOISE = re.compile(
    "|".join(
        (
            r"\*\*\* (Example|Features) \*\*\*",
            r"\*\*\*\* Trainable Variables \*\*\*\*",
            r"(guid|unique_id|example_index|doc_span_index|tokens|token_to_orig_map|token_is_max_context): ",
            r"(input_ids|input_mask|segment_ids|label|start_position|end_position|answer|impossible example)(: |$)",
            r"  name = ",
            r"Processing example: ",
            r"Writing example \d+ of ",
            r"Using config: ",
            r"Estimator's model_fn .* includes params argument",
            r"eval_on_tpu ignored",
            r"_TPUContext: ",
            r"(Calling|Done calling) model_fn",
            r"Running \w+ on CPU/GPU",
            r"(prediction|evaluation)_loop marked as finished",
            r"(Graph was finalized|Running local_init_op|Done running local_init_op)",
            r"Reraising captured error",
            r"Could not find trained model in model_dir",
        )
    )
)

# In the words of TensorFlow 2.16 and newer, and of 2.15, which renames at every use.
_DEPRECATED = re.compile(r"is deprecated( and will be removed|\. Please use tf\.compat\.v1)")


def install(verbose: bool) -> None:
    """Quietens TensorFlow unless `verbose`; to be called before it is imported.

    TF_CPP_MIN_LOG_LEVEL, which governs TensorFlow's C++ side, becomes 2 (errors) unless the user has set it. Google's scripts log
    through TensorFlow's Python logger, which gets a filter.
    """
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        logging.getLogger("tensorflow").addFilter(_Quiet())
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", category=category)
        warnings.filterwarnings("ignore", message=r".*tf\.layers\.\w+. is deprecated")


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not _NOISE.match(message) and not _DEPRECATED.search(message)
