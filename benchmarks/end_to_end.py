"""Times SQuAD from start to predictions: examples/run_squad_wrap.py in its ways, and where the seconds of each go.

    python benchmarks/end_to_end.py --model_dir=DIR --predict_file=dev-v1.1.json [--questions=N] [--floatx=float16] [--rounds=3]
        [--predict_batch_size=64] [--checkpoint=PREFIX] [--ways=fast,google,stock] [--output=FILE]

The ways: `fast` (the wrapper as it is), `google` (our encoder, --fast_python=false: Google's own Python around it) and `stock`
(Google's run_squad.py untouched, in float32, through tf_fastbert.compat). Each runs as a process of its own, --rounds times in
turns; the table shows the medians. The parts are those that the wrapper reports in fastbert_timing.json; of `stock` only the
total is known. Works on a GPU and on a CPU. Answers are compared with those of the first way, and scored.

Prints a Markdown table, and one line of JSON a way and round (to --output too). DIR holds vocab.txt, bert_config.json and
bert_model.ckpt (another checkpoint, such as one in float16: --checkpoint; `stock` always takes DIR's).
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tf_fastbert.evaluation import squad_v1_1  # noqa: E402
from tf_fastbert.evaluation.files import load_questions  # noqa: E402

PARTS = ("imports", "checks", "features", "graph", "prediction", "answers")


def cut_questions(source: pathlib.Path, target: pathlib.Path, count: int) -> int:
    """Writes the first `count` questions of a SQuAD file (all for 0); returns how many there are."""
    data = json.loads(source.read_text(encoding="utf-8"))
    kept = 0
    for article in data["data"]:
        for paragraph in article["paragraphs"]:
            if count:
                paragraph["qas"] = paragraph["qas"][: max(count - kept, 0)]
            kept += len(paragraph["qas"])
        article["paragraphs"] = [paragraph for paragraph in article["paragraphs"] if paragraph["qas"]]
    target.write_text(json.dumps(data), encoding="utf-8")
    return kept


def command(way: str, args: argparse.Namespace, questions: pathlib.Path, output: pathlib.Path) -> list[str]:
    """The command line of one run."""
    flags = [
        f"--vocab_file={args.model_dir}/vocab.txt",
        f"--bert_config_file={args.model_dir}/bert_config.json",
        "--do_predict=true",
        f"--predict_file={questions}",
        f"--predict_batch_size={args.predict_batch_size}",
        f"--max_seq_length={args.max_seq_length}",
        f"--max_query_length={args.max_query_length}",
        "--doc_stride=128",
        f"--output_dir={output}",
    ]
    if way == "stock":
        checkpoint = f"--init_checkpoint={args.model_dir}/bert_model.ckpt"
        return [sys.executable, "-m", "tf_fastbert.compat", "bert.run_squad", *flags, checkpoint]
    return [
        sys.executable,
        str(ROOT / "examples" / "run_squad_wrap.py"),
        *flags,
        f"--init_checkpoint={args.checkpoint or f'{args.model_dir}/bert_model.ckpt'}",
        f"--floatx={args.floatx}",
        "--remove_padding=true",
        f"--fast_python={way == 'fast'}",
    ]


def run(way: str, args: argparse.Namespace, questions: pathlib.Path, output: pathlib.Path) -> dict[str, Any]:
    """Runs one way once: its seconds, and those of its parts where they are known.

    Raises:
      SystemExit: the run failed; its last lines are shown.
    """
    path = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    environment = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"}
    begin = time.perf_counter()
    ended = subprocess.run(command(way, args, questions, output), env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begin
    if ended.returncode:
        sys.exit(f"{way} ended with status {ended.returncode}:\n" + "\n".join(ended.stderr.splitlines()[-15:]))
    result: dict[str, Any] = {"way": way, "seconds": seconds}
    if way != "stock":
        timing = json.loads((output / "fastbert_timing.json").read_text(encoding="utf-8"))
        result.update(parts=timing["parts"], features=timing["examples"], features_per_second=timing["examples_per_second"])
    return result


def table(results: list[dict[str, Any]], questions: int) -> str:
    """Medians by way, as Markdown."""
    rows = [
        "| way | questions/s | seconds | " + " | ".join(PARTS) + " | features/s in the loop |",
        "|--|--|--|" + "--|" * len(PARTS) + "--|",
    ]
    for way in dict.fromkeys(result["way"] for result in results):
        runs = [result for result in results if result["way"] == way]
        seconds = statistics.median(result["seconds"] for result in runs)
        cells = [way, f"{questions / seconds:.0f}", f"{seconds:.2f}"]
        if "parts" in runs[0]:
            cells += [f"{statistics.median(result['parts'].get(part, 0.0) for result in runs):.2f}" for part in PARTS]
            cells.append(f"{statistics.median(result['features_per_second'] for result in runs):.0f}")
        else:
            cells += [""] * (len(PARTS) + 1)
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_dir", type=pathlib.Path, required=True)
    parser.add_argument("--predict_file", type=pathlib.Path, required=True)
    parser.add_argument("--checkpoint")
    parser.add_argument("--questions", type=int, default=0)
    parser.add_argument("--floatx", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--predict_batch_size", type=int, default=64)
    parser.add_argument("--max_seq_length", type=int, default=384)
    parser.add_argument("--max_query_length", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default="fast,google")
    parser.add_argument("--output", type=pathlib.Path)
    args = parser.parse_args()
    ways = args.ways.split(",")
    if unknown := set(ways) - {"fast", "google", "stock"}:
        parser.error(f"--ways: {', '.join(sorted(unknown))}: there are fast, google and stock")
    results = []
    with tempfile.TemporaryDirectory(prefix="fastbert_") as folder:
        here = pathlib.Path(folder)
        count = cut_questions(args.predict_file, here / "questions.json", args.questions)
        for _ in range(args.rounds):
            for way in ways:
                result = run(way, args, here / "questions.json", here / way)
                result.update(questions=count, questions_per_second=count / result["seconds"])
                result.update(floatx="float32" if way == "stock" else args.floatx, predict_batch_size=args.predict_batch_size)
                results.append(result)
                print(json.dumps(result), flush=True)
        asked = load_questions(str(here / "questions.json"))
        answers = {way: json.loads((here / way / "predictions.json").read_text(encoding="utf-8")) for way in ways}
    if args.output:
        args.output.write_text("".join(json.dumps(result) + "\n" for result in results), encoding="utf-8")
    print(table(results, count))
    for way in ways:
        differing = sum(answers[way][key] != answer for key, answer in answers[ways[0]].items())
        line = f"{way}: {differing} of {count} answers differ from those of {ways[0]}"
        if all(question.answers for question in asked):
            scores = squad_v1_1.evaluate(asked, answers[way])
            line += f"; exact match {scores.exact_match:.2f}, F1 {scores.f1:.2f}"
        print(line)


if __name__ == "__main__":
    main()
