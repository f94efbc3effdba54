"""--allow_gemm_test: before TensorFlow takes the GPU, a process of its own times cuBLASLt's algorithms for the model's products.

The result is a file in the user's cache folder (see tf_fastbert/gemm_tables.py), which this and all later runs take; a second test
of the same model on the same GPU finds it and ends at once.

    python -m tf_fastbert.wrap.gemm_test BERT_CONFIG_FILE FLOATX PRECISION MAX_TOKENS
"""

from __future__ import annotations

import subprocess
import sys

_MAX_TOKENS = 32768  # a larger batch's products take what is best for this many rows, or cuBLASLt's first choice


def run(config_file: str, floatx: str, precision: str, batch_size: int, seq_len: int) -> str:
    """Runs the test and returns one line for the user: what it did, or why there is none. Never fails: the op works without."""
    tokens = min(_MAX_TOKENS, batch_size * seq_len)
    command = [sys.executable, "-m", __name__, config_file, floatx, precision, str(tokens)]
    child = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    lines = (child.stdout if child.returncode == 0 else child.stderr).strip().splitlines()
    text = lines[-1] if lines else f"exit status {child.returncode}"
    return f"GEMM test: {text}" if child.returncode == 0 else f"no GEMM test (cuBLASLt's own choice is taken): {text}"


def main(arguments: list[str]) -> None:
    from tf_fastbert import gemm_tables
    from tf_fastbert.config import BertConfig
    from tf_fastbert.cuda import tuning
    from tf_fastbert.cuda.abi import FastBertError
    from tf_fastbert.cuda.driver import CudaError, Gpu
    from tf_fastbert.cuda.encoder import EncoderConfig

    config_file, floatx, precision, max_tokens = arguments
    model = BertConfig.from_file(config_file)
    config = EncoderConfig(
        model.num_hidden_layers,
        model.num_attention_heads,
        model.size_per_head,
        model.intermediate_size,
        dtype=floatx,
        activation=model.activation,
        # TensorFlow's own default, which the op follows, is TF32.
        precision="tf32" if floatx == "float32" and precision != "float32" else "default",
    )
    try:
        gpu = Gpu()
        path = gemm_tables.user_folder() / tuning.table_name(gpu.name, config)
        counts = tuning.bucket_ends(int(max_tokens))
        if path.exists():
            kept = path.read_text()
            if tuning.count_entries(kept) >= 4 * len(counts) and tuning.used_entries(gpu, config, kept) >= 4 * len(counts):
                print(f"done before, {path}")
                return
        tuning.write_table(path, tuning.tune(gpu, config, counts))
    except (CudaError, FastBertError, ImportError, OSError) as error:
        sys.exit(str(error))
    print(f"wrote {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
