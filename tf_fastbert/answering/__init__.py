"""Questions about a passage, answered by a fine-tuned BERT in Google's format.

    from tf_fastbert.answering import QuestionAnswerer
    answerer = QuestionAnswerer.load("squad_model")          # bert_config.json, vocab.txt and a checkpoint
    reply = answerer.ask("The river Spree flows through Berlin.", "What flows through Berlin?")
    reply.text, reply.answers[0].probability, reply.answers[0].start

    answerer.py      QuestionAnswerer: passage and questions -> replies
    replies.py       what it returns
    settings.py      windows, n best: the flags of Google's run_squad
    casing.py        whether a vocabulary is cased
    model_files.py   finds and checks configuration, vocabulary and checkpoint
    model.py         the frozen graph: token ids -> start and end logits
    passage.py       where in a passage an answer is
    squad_file.py    a SQuAD file -> predictions.json
    command_line.py  examples/question_answering.py: its flags; prompt.py what it prints and asks
    service.py       --serve: a local web page and a JSON endpoint (templates/, static/); service_values.py what they say

The answers are those of examples/run_squad_wrap.py: tokens, windows and the choice of answers are tf_fastbert.pipeline's.
"""

from __future__ import annotations

import importlib
from typing import Any

_MEMBERS = {
    "QuestionAnswerer": "answerer",
    "Answer": "replies",
    "Latency": "replies",
    "Reply": "replies",
    "Settings": "settings",
    "QuestionError": "errors",
}

__all__ = list(_MEMBERS)


def __getattr__(name: str) -> Any:
    # TensorFlow comes when a member is first used, as in tf_fastbert itself.
    if name not in _MEMBERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MEMBERS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MEMBERS})
