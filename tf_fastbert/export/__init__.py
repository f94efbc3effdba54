"""SavedModels from checkpoints in Google's format: the whole model, with the op as its encoder.

    from tf_fastbert import export
    export.export_saved_model("squad/model.ckpt", "bert_config.json", "vocab.txt", "served/1", task="squad")

    settings.py     what to export, and what is written beside the graph for programs that use it
    checkpoint.py   the checkpoint, checked and read
    model.py        the graph: embeddings, encoder, head
    folder.py       the output folder, which appears when it is complete
    saved_model.py  export_saved_model
    strings.py      the signature that takes text (needs tensorflow-text)

tools/export_saved_model.py is its command line; docs/guide_serving.md says how to load and serve what it writes.
"""

from __future__ import annotations

from tf_fastbert.export.saved_model import export_saved_model
from tf_fastbert.export.settings import ExportError, Settings, read_settings

__all__ = ["ExportError", "Settings", "export_saved_model", "read_settings"]
