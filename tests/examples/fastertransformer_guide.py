"""The commands of FasterTransformer's BERT guide, section "Run FasterTransformer on TensorFlow", as a user's shell history has them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tests.wrap.tiny_model import REPO

GUIDE = REPO.parent / "shared" / "seeds" / "000_e0614c8451887440.txt"
_BEGIN, _END = "2. Run FasterTransformer on TensorFlow", "3. Run FasterTransformer on PyTorch"

# The file name of their program -> ours and the arguments before theirs.
PROGRAMS = {
    "bert_gemm": ("tools/gemm_tune.py",),
    "bert_example.py": ("examples/bert_example.py",),
    "run_classifier.py": ("tf_fastbert/compat/__main__.py", "bert.run_classifier"),
    "run_classifier_wrap.py": ("examples/run_classifier_wrap.py",),
    "ckpt_type_convert.py": ("tools/ckpt_type_convert.py",),
    "ckpt_quantization.py": ("tools/ckpt_quantization.py",),
    "profile_transformer_inference.py": ("examples/profile_transformer_inference.py",),
    "run_squad.py": ("tf_fastbert/compat/__main__.py", "bert.run_squad"),
    "run_squad_wrap.py": ("examples/run_squad_wrap.py",),
    "squad_evaluate_v1_1.py": ("tools/squad_evaluate_v1_1.py",),
}
# Steps that only bring files: Google's code, its pretrained checkpoint, data sets.
FETCHING = {"git", "wget", "unzip", "mkdir", "export", "download_glue_data.py"}


class Step(NamedTuple):
    program: str  # file name of theirs
    arguments: list[str]


def steps(guide: Path = GUIDE) -> list[Step]:
    """Every command of the section, in its order. What a code block shows of output is no command."""
    text = guide.read_text()
    section = text[text.index(_BEGIN) : text.index(_END)]
    found = []
    for block in re.findall(r"```bash\s*\n(.*?)```", section, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip()
            if re.match(r"(\./bin/|python |git |wget |unzip |mkdir |export )", line):
                words = shlex.split(line)
                program = words[1] if words[0] == "python" else words[0]
                found.append(Step(program.rpartition("/")[2], words[2 if words[0] == "python" else 1 :]))
    return found
