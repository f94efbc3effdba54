"""What the page and the JSON endpoint say of a reply and of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tf_fastbert.answering.replies import Reply

if TYPE_CHECKING:
    from tf_fastbert.answering.answerer import QuestionAnswerer


def describe(answerer: QuestionAnswerer) -> dict[str, Any]:
    """What the page says of the model."""
    return {
        "checkpoint": answerer.files.checkpoint,
        "floatx": answerer.files.floatx,
        "layers": answerer.files.sizes.encoder.num_hidden_layers,
        "hidden_size": answerer.files.sizes.encoder.hidden_size,
        "max_seq_length": answerer.settings.max_seq_length,
    }


def latency(reply: Reply) -> dict[str, float]:
    """A reply's latency, rounded, for JSON."""
    times = reply.latency
    parts = {"tokenize": times.tokenize_ms, "model": times.model_ms, "postprocess": times.postprocess_ms, "total": times.total_ms}
    return {name: round(value, 3) for name, value in parts.items()}


def as_json(reply: Reply, candidates: int) -> dict[str, Any]:
    """A reply as the JSON endpoint gives it."""
    result = {
        "question": reply.question,
        "answer": reply.text,
        "windows": reply.windows,
        "candidates": [
            {
                "text": answer.text,
                "start": answer.start,
                "end": answer.end,
                "probability": answer.probability,
                "score": answer.score,
                "start_logit": answer.start_logit,
                "end_logit": answer.end_logit,
            }
            for answer in reply.answers[:candidates]
        ],
    }
    if reply.null_score_diff is not None:
        result["null_score_diff"] = reply.null_score_diff
    return result


def parts(text: str, reply: Reply) -> tuple[str, str, str]:
    """The passage before the answer, the answer as it stands there, and the rest; all of it before if there is no answer."""
    best = reply.best
    if best is None:
        return text, "", ""
    return text[: best.start], text[best.start : best.end], text[best.end :]
