"""examples/question_answering.py: what it prints, its errors, its files; and the page it serves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")

from tests.answering.conftest import SIZES
from tests.wrap import tiny_model
from tf_fastbert.answering import command_line, prompt, squad_file
from tf_fastbert.wrap.errors import WrapError

PASSAGE = "the cat sat on the mat under a big tree . the dog ran ."
FLAGS = [f"--{flag}={value}" for flag, value in SIZES.items()]


def parse(*arguments: str) -> Any:
    return command_line.parse("A summary.\nDetails.", arguments)


def test_flags_of_the_ancestor(tmp_path: Path) -> None:
    args = parse("-m", "d", "-p", "the", "cat", "-q", "who", "sat", "-q", "where ?", "-v", "vocab.txt", "-s", "128", "-b", "1")
    assert (args.passage, args.questions, args.vocab_file) == ("the cat", ["who sat", "where ?"], "vocab.txt")
    assert (args.max_seq_length, args.batch_size) == (128, 1)
    (tmp_path / "p.txt").write_text("ein Satz über Bäume\n", encoding="utf-8")
    assert parse("-m", "d", "-pf", str(tmp_path / "p.txt")).passage == "ein Satz über Bäume\n"
    assert parse("-m", "d", "--serve").passage == ""
    squad = tmp_path / "squad.json"
    squad.write_text("{}")
    args = parse("-m", "d", "-sq", str(squad), "--max_query_length=32", "--doc-stride", "64", "--remove_padding=false")
    assert args.output_prediction_file == "predictions.json"
    assert (args.max_query_length, args.doc_stride, args.remove_padding) == (32, 64, False)


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        ("-p a -q b", 2, "-m (--init_checkpoint) is required"),
        ("-m d", 2, "no passage: give its text with -p"),
        ("-m d -q b", 2, "no passage"),
        ("-m d -p a -pf b", 2, "-p and -pf both give a passage"),
        ("-m d -p {blank} -q b", 2, "-p: the passage is empty"),
        ("-m d -pf {empty} -q b", 2, "empty.txt: the passage is empty"),
        ("-m d -pf {folder}/none.txt -q b", 1, "none.txt: it cannot be read: No such file"),
        ("-m d -pf {folder} -q b", 1, "it cannot be read: Is a directory"),
        ("-m d -pf {binary} -q b", 1, "it is not a text file in UTF-8 (byte 1)"),
        ("-m d -p a -q b -q {blank}", 2, "-q: question 2 is empty"),
        ("-m d -p a -q b --serve", 2, "-q and --serve"),
        ("-m d -p a -q b -o c", 2, "-o: it is where the answers to a SQuAD file go"),
        ("-m d -sq {empty} -p a", 2, "-sq and -p:"),
        ("-m d -sq {empty} --serve", 2, "-sq and --serve:"),
        ("-m d -sq {folder}/none.json", 1, "-sq {folder}/none.json: there is no such file"),
        ("-m d -sq {empty} -o {folder}/no/out.json", 1, "the directory {folder}/no does not exist"),
        ("-m d -sq {empty} -o {folder}", 1, "it is a directory"),
        ("-e bert.engine -p a -q b", 2, "-e: no engine has to be built here"),
        ("-m d -p a --int8_mode=4", 2, "argument --int8_mode: invalid choice"),
        ("-m d -p a --remove_padding=maybe", 2, "'maybe' is not true or false"),
        ("-m d --serve --port=65536", 2, "'65536' is no port"),
        ("-m d -p a --bogus", 2, "unrecognized arguments: --bogus (--help lists the flags)"),
    ],
)
def test_mistakes_before_anything_is_loaded(arguments: str, status: int, message: str, tmp_path: Path) -> None:
    files = {"empty": tmp_path / "empty.txt", "binary": tmp_path / "binary", "folder": tmp_path, "blank": " "}
    files["empty"].write_text(" \n")
    files["binary"].write_bytes(b"a\xff")
    words = [word.format(**files) for word in arguments.split()]
    with pytest.raises(WrapError) as caught:
        parse(*words)
    assert message.format(**files) in str(caught.value)
    assert caught.value.status == status


def test_report() -> None:
    from tf_fastbert.answering import Answer, Latency, Reply

    answers = (Answer("a cat", 2, 7, 0.75, 2.0, 1.5), Answer("", None, None, 0.2, 1.0, 1.0), Answer("cat", 4, 7, 0.05, 0.5, 0.0))
    reply = Reply("who", "a cat", answers, 2, None, Latency(0.5, 10, 1.25))
    assert prompt.report(reply, 3).splitlines() == [
        "Answer: 'a cat'",
        "With probability: 75.00 %, score 3.50, characters 2 to 7",
        "Other answers: 'none' (20.00 %), 'cat' (5.00 %)",
        "Milliseconds: tokens 0.50, model 10.00 (2 windows), answer 1.25",
    ]
    assert prompt.report(Reply("who", "", (), 1, None, Latency(1, 1, 1)), 3).splitlines() == [
        "Answer: none in this passage",
        "Milliseconds: tokens 1.00, model 1.00 (1 window), answer 1.00",
    ]


def test_squad_file(tiny: Any, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    line = squad_file.answer(tiny, str(folder / "squad.json"), str(output))
    expected = tiny.predict(tiny.read_squad(str(folder / "squad.json")))
    assert json.loads(output.read_text()) == expected and len(expected) == tiny_model.SQUAD_QUESTIONS
    assert line.startswith(f"{output}: 7 answers in ")
    assert os.stat(output).st_mode & 0o777 == 0o666 & ~squad_file._umask()
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    with pytest.raises(WrapError, match="cannot be written: No such file"):
        squad_file.answer(tiny, str(folder / "squad.json"), str(tmp_path / "no" / "out.json"))
    (tmp_path / "bad.json").write_text('{"data": [{"paragraphs": [{"qas": []}]}]}')
    with pytest.raises(WrapError, match=r'bad.json: data\[0\].paragraphs\[0\]: no string "context"'):
        squad_file.answer(tiny, str(tmp_path / "bad.json"), str(output))


def run(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess:
    """Runs the script by path, from elsewhere."""
    script = str(tiny_model.REPO / "examples" / "question_answering.py")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, script, "-m", str(folder), *FLAGS, *arguments]
    return subprocess.run(command, input=stdin, env=environment, cwd="/", capture_output=True, text=True, timeout=600, check=False)


def test_questions_on_the_command_line(folder: Path, tiny: Any) -> None:
    result = run(folder, "-p", PASSAGE, "-q", "who sat ?", "-q", "who", "is", "it", "--candidates=2")
    assert result.returncode == 0, result.stderr[-3000:]
    lines = result.stdout.splitlines()
    assert lines[0] == f"Passage: {PASSAGE}"
    for question in ("who sat ?", "who is it"):
        reply = tiny.ask(PASSAGE, question)
        at = lines.index(f"Question: {question}")
        assert lines[at + 1] == f"Answer: {reply.text!r}"
        assert lines[at + 2].startswith(f"With probability: {100 * reply.best.probability:.2f} %, score {reply.best.score:.2f}")
        assert lines[at + 3].startswith(f"Other answers: {reply.answers[1].text!r} (") and lines[at + 3].count("%") == 1
        assert lines[at + 4].startswith("Milliseconds: tokens ")


def test_questions_from_stdin(folder: Path, tiny: Any) -> None:
    """A mistake does not end it; an empty line does."""
    result = run(folder, "-p", PASSAGE, stdin=f"who sat ?\n{'who ' * 17}\nwho ran ?\n\nnot asked\n")
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.findall("(?m)^Question: (.*)$", result.stdout) == ["who sat ?", "who ran ?"]
    assert f"Answer: {tiny.ask(PASSAGE, 'who ran ?').text!r}" in result.stdout
    assert "error: the question has 17 tokens, 16 are possible" in result.stderr and "Traceback" not in result.stderr


def test_prompt_on_a_terminal(folder: Path, tiny: Any) -> None:
    pty = pytest.importorskip("pty")
    try:
        ours, its = pty.openpty()
    except OSError as error:  # a container without /dev/pts
        pytest.skip(f"no pseudo-terminal can be opened: {error}")
    script = str(tiny_model.REPO / "examples" / "question_answering.py")
    command = [sys.executable, script, "-m", str(folder), *FLAGS, "-p", PASSAGE]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TERM": "dumb"}
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=subprocess.DEVNULL, env=environment, cwd="/") as process:
        os.close(its)
        shown = ""

        def until(text: str) -> None:
            nonlocal shown
            while text not in shown:
                shown += os.read(ours, 4096).decode()

        until("Question: ")
        assert "An empty line or Ctrl-D ends." in shown
        os.write(ours, b"who sat ?\n")
        until("Milliseconds:")
        assert f"Answer: {tiny.ask(PASSAGE, 'who sat ?').text!r}" in shown
        shown = shown[shown.index("Milliseconds:") :]
        until("Question: ")
        os.write(ours, b"\x04")
        assert process.wait(60) == 0
    os.close(ours)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-p", PASSAGE, "-q", "who " * 17], "error: the question has 17 tokens"),
        (["-p", PASSAGE, "-q", "who", "-s", "65"], "error: --max_seq_length=65: the model has 64 positions"),
    ],
)
def test_mistakes_end_with_one_line(folder: Path, arguments: list[str], message: str) -> None:
    result = run(folder, *arguments)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("error: ")][0].startswith(message)
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    result = run(tmp_path / "nothing", "-p", PASSAGE, "-q", "who")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"error: --init_checkpoint: no checkpoint {tmp_path}/nothing")


@pytest.fixture
def served(folder: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    pytest.importorskip("flask", reason="Flask is not installed (the extra tf_fastbert[serve])")
    pytest.importorskip("waitress", reason="waitress is not installed (the extra tf_fastbert[serve])")
    script = str(tiny_model.REPO / "examples" / "question_answering.py")
    command = [sys.executable, script, "-m", str(folder), *FLAGS, "-p", PASSAGE, "--serve", "--port=0"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    options = dict(stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment, cwd="/")
    # Ctrl-C as on a terminal, also where the tests themselves run in the background of a shell, which ignores it there.
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, **options)
    signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield re.search(r"Ask on (http://127\.0\.0\.1:\d+/) ", process.stdout.readline())[1], process
        finally:
            process.kill()


def test_serve(served: tuple[str, subprocess.Popen], tiny: Any) -> None:
    address, process = served
    with urllib.request.urlopen(address, timeout=60) as response:
        assert PASSAGE in response.read().decode()
    body = json.dumps({"passage": PASSAGE, "question": "who sat ?"}).encode()
    request = urllib.request.Request(f"{address}api/answer", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        assert json.load(response)["results"][0]["answer"] == tiny.ask(PASSAGE, "who sat ?").text
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert process.stdout.read() == "\nended\n"
