"""One table and one plot from the lines that one or more runs of benchmarks/encoder.py have written.

    python benchmarks/merge.py encoder.jsonl
    python benchmarks/merge.py base/encoder.jsonl xla/encoder.jsonl --out docs_of_today

For a plot from a machine without matplotlib, and for families that were measured in runs of their own. The runs must be of one
device, model and type. What several of them have measured is taken from the first. Prints the table; writes encoder.png to --out.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from benchmarks.plot import save_plot_if_possible  # noqa: E402
from benchmarks.report import Report  # noqa: E402
from tf_fastbert.cuda.ceilings import Ceilings  # noqa: E402

SAME = ("device", "model", "dtype")


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """Raises ValueError with the file and the line that is not one of encoder.py's."""
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            if missing := {*SAME, "row", "name", "mode", "padded"} - line.keys():
                raise ValueError(f"it has no {', '.join(sorted(missing))}")
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path}, line {number} is not a line of encoder.jsonl: {error}") from error
        lines.append(line)
    if not lines:
        raise ValueError(f"{path} is empty")
    return lines


def merge(runs: list[list[dict[str, Any]]]) -> Report:
    """The report of several runs' lines. Raises ValueError where they are of different devices, models or types."""
    lines = [line for run in runs for line in run]
    for key in SAME:
        if len(values := dict.fromkeys(line[key] for line in lines)) > 1:
            raise ValueError(f"runs of different {key}s: {', '.join(values)}")
    results: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in lines:
        key = (tuple(line["row"]), line["name"], line["mode"], line["padded"])
        if key not in results or "milliseconds" not in results[key]:
            results[key] = line
    rows = list(dict.fromkeys(key[0] for key in results))
    versions = list(dict.fromkeys(version for line in lines for version in line.get("versions", ())))
    ceilings = next((line["ceilings"] for line in lines if line.get("ceilings")), None)
    lengths = {tuple(line["row"]): line["lengths"] for line in lines if line.get("lengths")}
    title = f"{lines[0]['device']}; BERT-{lines[0]['model']}, {lines[0]['dtype']}; milliseconds, medians"
    return Report(
        lines[0]["model"],
        lines[0]["dtype"],
        sorted(rows, key=lambda row: (row[0], row[1])),
        [title, *versions],
        list(results.values()),
        Ceilings(*ceilings) if ceilings else None,
        [],
        lengths,
    )


def main() -> None:
    summary, _, details = __doc__.partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE", help="encoder.jsonl of a run")
    parser.add_argument("--out", default=".", type=pathlib.Path, help="folder for encoder.png (default: here)")
    args = parser.parse_args()
    try:
        report = merge([read_lines(path) for path in args.files])
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(report.markdown())
    args.out.mkdir(parents=True, exist_ok=True)
    save_plot_if_possible(report, args.out / "encoder.png")


if __name__ == "__main__":
    main()
