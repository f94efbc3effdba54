"""A random BERT of a few kilobytes in Google's format, a SQuAD file and MRPC files for it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np

REPO = Path(__file__).resolve().parents[2]
WORDS = (
    "a the cat dog sat ran on under mat tree big small red blue old new house river boat sings where who what is was did "
    "when . , ?"
).split()
CONFIG = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "type_vocab_size": 2,
    "vocab_size": 5 + len(WORDS),
}
# 7 questions whose features are of very different lengths: with a batch size of 4 the last batch is partial.
SQUAD_QUESTIONS = 7
MRPC_PAIRS = {"train": 6, "dev": 7, "test": 5}


def variables(config: dict = CONFIG, seed: int = 1) -> dict[str, np.ndarray]:
    """All variables that Google's run_squad and run_classifier load, float32, random."""
    from tf_fastbert.config import BertConfig
    from tf_fastbert.wrap import checkpoints, inputs

    sizes = inputs.BertSizes(
        BertConfig.from_dict(config), config["vocab_size"], config["max_position_embeddings"], config["type_vocab_size"]
    )
    shapes = dict(checkpoints.bert_variables(sizes, pooler=True))
    for head in ("cls/squad/", ""):
        shapes.update({f"{head}output_weights": (2, config["hidden_size"]), f"{head}output_bias": (2,)})
    rng = np.random.default_rng(seed)
    # Wide enough that answers are decided by more than rounding.
    return {
        name: ((1.0 if name.endswith("gamma") else 0.0) + 0.3 * rng.standard_normal(shape)).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_model(folder: Path, **changed: object) -> None:
    """vocab.txt, bert_config.json and bert_model.ckpt; `changed`: values of CONFIG to replace."""
    from tf_fastbert.checkpoint import write_checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocab) + "\n")
    config = {**CONFIG, **changed}
    (folder / "bert_config.json").write_text(json.dumps(config))
    write_checkpoint(str(folder / "bert_model.ckpt"), variables(config))


def write_squad(path: Path, questions: int = SQUAD_QUESTIONS) -> None:
    """A SQuAD file with a paragraph for each question, of 3 to 90 words (the longest take several features)."""
    rng = random.Random(3)
    paragraphs = []
    for i in range(questions):
        words = rng.choices(WORDS, k=3 + i * 87 // max(questions - 1, 1))
        answer = words[len(words) // 2]
        context = " ".join(words)
        start = len(" ".join(words[: len(words) // 2])) + 1
        paragraphs.append(
            {
                "context": context,
                "qas": [
                    {
                        "id": f"q{i}",
                        "question": "where is the " + " ".join(rng.choices(WORDS, k=1 + i % 4)),
                        "answers": [{"text": answer, "answer_start": start}],
                    }
                ],
            }
        )
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "tiny", "paragraphs": paragraphs}]}))


def write_mrpc(folder: Path) -> None:
    """train.tsv, dev.tsv and test.tsv."""
    rng = random.Random(4)
    for split, count in MRPC_PAIRS.items():
        lines = ["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"]
        for i in range(count):
            first, second = (" ".join(rng.choices(WORDS, k=rng.randint(1, 20))) for _ in range(2))
            lines.append(f"{i % 2}\t{i}\t{i}\t{first}\t{second}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Runs examples/<script>.py by path, as a user without an installation does."""
    return subprocess.run(
        [sys.executable, str(REPO / "examples" / f"{script}.py"), *map(str, arguments)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )


def model_flags(folder: Path, checkpoint: str = "bert_model.ckpt") -> list[str]:
    """The flags that name the files of write_model."""
    return [
        f"--vocab_file={folder}/vocab.txt",
        f"--bert_config_file={folder}/bert_config.json",
        f"--init_checkpoint={folder}/{checkpoint}",
    ]
