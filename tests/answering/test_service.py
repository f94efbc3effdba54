"""The page and the JSON endpoint, without a browser."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
pytest.importorskip("bert", reason="bert-tensorflow is not installed")
pytest.importorskip("flask", reason="Flask is not installed (the extra tf_fastbert[serve])")
pytest.importorskip("waitress", reason="waitress is not installed (the extra tf_fastbert[serve])")

from tf_fastbert.answering import service
from tf_fastbert.answering.service import Limits, create_app
from tf_fastbert.wrap.errors import WrapError

PASSAGE = "the cat sat on the mat under a big tree . the dog ran ."
EVIL = "the <script>alert(1)</script> cat </textarea><img src=x onerror=alert(2)> sat ."


@pytest.fixture(scope="module")
def client(tiny: Any) -> Any:
    return create_app(tiny, passage=PASSAGE, limits=Limits(passage=500, question=100, questions=3, body=4000)).test_client()


def ask(client: Any, **body: Any) -> Any:
    return client.post("/api/answer", json=body)


def test_json(client: Any, tiny: Any) -> None:
    questions = ["who sat ?", "where is the dog ?"]
    response = ask(client, passage=PASSAGE, questions=questions, candidates=4)
    assert response.status_code == 200 and response.mimetype == "application/json"
    body = response.get_json()
    assert body["model"]["floatx"] == "float32" and body["model"]["max_seq_length"] == 48
    times = body["latency_ms"]
    assert times["model"] > 0 and times["total"] == pytest.approx(sum(times.values()) - times["total"], abs=0.01)
    for question, result in zip(questions, body["results"], strict=True):
        expected = tiny.ask(PASSAGE, question)
        assert (result["question"], result["answer"], result["windows"]) == (question, expected.text, 1)
        assert [one["text"] for one in result["candidates"]] == [answer.text for answer in expected.answers[:4]]
        for one in result["candidates"]:
            assert PASSAGE[one["start"] : one["end"]] == one["text"]
            assert one["score"] == pytest.approx(one["start_logit"] + one["end_logit"])
        assert "null_score_diff" not in result
    one = ask(client, passage=PASSAGE, question=questions[0]).get_json()
    assert one["results"][0]["answer"] == body["results"][0]["answer"] and len(one["results"][0]["candidates"]) == 5


@pytest.mark.parametrize(
    "body, status, message",
    [
        ([1], 400, "must be a JSON object"),
        ({"passage": PASSAGE}, 400, 'give either "questions"'),
        ({"passage": PASSAGE, "question": "a", "questions": ["a"]}, 400, 'give either "questions"'),
        ({"passage": 3, "question": "a"}, 400, '"passage" must be a string'),
        ({"passage": PASSAGE, "questions": "a"}, 400, '"questions" must be a list'),
        ({"passage": PASSAGE, "question": None}, 400, '"question" a string'),
        ({"passage": PASSAGE, "question": "a", "text": ""}, 400, "unknown key 'text'"),
        ({"passage": PASSAGE, "question": "a", "candidates": True}, 400, '"candidates" must be a number'),
        ({"passage": PASSAGE, "question": "a", "candidates": 0}, 400, '"candidates" must be a number'),
        ({"passage": PASSAGE, "questions": []}, 400, "no question"),
        ({"passage": PASSAGE, "questions": ["a"] * 4}, 400, "4 questions: 3 are possible"),
        ({"passage": "", "question": "a"}, 400, "the passage is empty"),
        ({"passage": PASSAGE, "question": "  "}, 400, "the question is empty"),
        ({"passage": PASSAGE, "question": "who " * 17}, 400, "the question has 17 tokens"),
        ({"passage": "a " * 251, "question": "a"}, 413, "the passage has 502 characters: 500 are possible"),
        ({"passage": PASSAGE, "question": "a" * 101}, 413, "a question has 101 characters"),
        ({"passage": "a" * 5000, "question": "a"}, 413, "the request is too long: 4000 bytes"),
    ],
)
def test_json_mistakes(client: Any, body: Any, status: int, message: str) -> None:
    response = client.post("/api/answer", json=body)
    assert response.status_code == status
    assert message in response.get_json()["error"]


def test_other_mistakes(client: Any) -> None:
    assert client.post("/api/answer", data="passage=a").status_code == 415
    broken = client.post("/api/answer", data="{", content_type="application/json")
    assert broken.status_code == 400 and "JSON object" in broken.get_json()["error"]
    assert client.get("/api/answer").status_code == 405
    assert client.get("/api/nothing").get_json()["error"].startswith("Not Found")
    page = client.get("/nothing")
    assert page.status_code == 404 and 'role="alert"' in page.text
    assert client.get("/static/../service.py").status_code == 404


def test_page(client: Any, tiny: Any) -> None:
    page = client.get("/")
    assert page.status_code == 200 and PASSAGE in page.text and "<mark>" not in page.text
    answered = client.post("/", data={"passage": PASSAGE, "questions": "who sat ?\r\n\r\n  where is the dog ?\r\n"})
    assert answered.status_code == 200
    assert re.findall(r"<h3[^>]*>(.*?)</h3>", answered.text) == ["who sat ?", "where is the dog ?"]
    best = tiny.ask(PASSAGE, "who sat ?").best
    assert re.findall(r"<mark>(.*?)</mark>", answered.text)[0] == best.text
    assert f"{PASSAGE[: best.start]}<mark>" in answered.text and f"</mark>{PASSAGE[best.end :]}</div>" in answered.text
    assert f"probability {100 * best.probability:.1f} %, score {best.score:.2f}" in answered.text
    assert answered.text.count('class="candidate"') == 10
    # Nothing comes from elsewhere.
    assert not re.search(r"(?:src|href|action)=\"(?!/|#)", answered.text)
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        assert client.get(path).status_code == 200


def test_page_mistakes(client: Any) -> None:
    for data, status, message in (
        ({"passage": PASSAGE, "questions": ""}, 400, "No question"),
        ({"passage": "", "questions": "a"}, 400, "The passage is empty"),
        ({"passage": "a " * 251, "questions": "a"}, 413, "502 characters"),
        ({"passage": "a" * 5000, "questions": "a"}, 413, "The request is too long"),
    ):
        page = client.post("/", data=data)
        assert page.status_code == status and 'role="alert"' in page.text and message in page.text
    assert "the dog" in client.post("/", data={"passage": PASSAGE, "questions": ""}).text  # what was typed is still there


def test_texts_are_escaped(client: Any) -> None:
    page = client.post("/", data={"passage": EVIL, "questions": "who <b>sat</b> ?\n<script>alert(3)</script>"})
    assert page.status_code == 200 and "<mark>" in page.text
    assert not re.search(r"<script(?! defer src)|<img|<b>|</textarea><img", page.text)
    page = client.post("/", data={"passage": EVIL, "questions": "<script>" * 17})
    assert page.status_code == 413 or ('role="alert"' in page.text and "<script>" not in page.text)


def test_headers(client: Any) -> None:
    for response in (client.get("/"), ask(client, passage=PASSAGE, question="a"), client.get("/nothing")):
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),  # another port of this machine
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_other_sites_are_refused(client: Any, headers: dict[str, str], status: int) -> None:
    assert client.post("/", data={"passage": PASSAGE, "questions": "a"}, headers=headers).status_code == status
    assert client.post("/api/answer", json={"passage": PASSAGE, "question": "a"}, headers=headers).status_code == status


def test_host_names(client: Any, tiny: Any) -> None:
    """On this machine only, names that lead here from elsewhere (DNS rebinding) are refused; on a network any name may be right."""
    assert client.get("/", headers={"Host": "127.0.0.1:8000"}).status_code == 200
    assert client.get("/", headers={"Host": "[::1]:8000"}).status_code == 200
    refused = client.get("/", headers={"Host": "evil.example"})
    assert refused.status_code == 400 and "use http://127.0.0.1" in refused.text
    assert create_app(tiny, host="0.0.0.0").test_client().get("/", headers={"Host": "box.lan"}).status_code == 200


def test_health(client: Any) -> None:
    assert client.get("/healthz").get_json()["status"] == "ok"


class _Slow:
    """A QuestionAnswerer that counts how many are asking it at once."""

    def __init__(self, tiny: Any, seconds: float) -> None:
        self.files, self.settings, self._tiny, self._seconds = tiny.files, tiny.settings, tiny, seconds
        self.now = self.most = 0

    def ask_all(self, *arguments: Any) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        time.sleep(self._seconds)
        self.now -= 1
        return self._tiny.ask_all(*arguments)


def _at_once(app: Any, count: int) -> list[int]:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask(app.test_client(), passage=PASSAGE, question="who").status_code))
        for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_requests_take_turns(tiny: Any) -> None:
    slow = _Slow(tiny, 0.05)
    assert _at_once(create_app(slow), 6) == [200] * 6
    assert slow.most == 1


def test_a_busy_model(tiny: Any) -> None:
    statuses = _at_once(create_app(_Slow(tiny, 3.0), limits=Limits(wait_s=0.1)), 2)
    assert sorted(statuses) == [200, 503]


def test_a_model_that_fails(tiny: Any) -> None:
    class Broken(_Slow):
        def ask_all(self, *arguments: Any) -> Any:
            raise WrapError("the model's logits are not finite numbers")

    client = create_app(Broken(tiny, 0)).test_client()
    response = ask(client, passage=PASSAGE, question="who")
    assert response.status_code == 500 and "not finite" in response.get_json()["error"]
    assert "not finite" in client.post("/", data={"passage": PASSAGE, "questions": "who"}).text


def test_no_answer(tiny: Any) -> None:
    """SQuAD 2.0: the page says so."""
    from tf_fastbert.answering.replies import Answer, Latency, Reply

    class Unsure(_Slow):
        def ask_all(self, passage: str, questions: list[str]) -> Any:
            answers = (Answer("", None, None, 0.7, 2.0, 2.0), Answer("cat", 4, 7, 0.3, 1.0, 1.0))
            return [Reply(question, "", answers, 1, 2.0, Latency(1, 2, 3)) for question in questions]

    client = create_app(Unsure(tiny, 0)).test_client()
    page = client.post("/", data={"passage": PASSAGE, "questions": "who"}).text
    assert "No answer in this passage" in page and "<em>no answer</em>" in page and "<mark>" not in page
    result = ask(client, passage=PASSAGE, question="who").get_json()["results"][0]
    assert result["answer"] == "" and result["null_score_diff"] == 2.0 and result["candidates"][0]["start"] is None


def test_a_port_in_use(tiny: Any) -> None:
    app = create_app(tiny)
    server, (address,) = service.listen(app, "127.0.0.1", 0)
    try:
        port = int(address.rstrip("/").rpartition(":")[2])
        with pytest.raises(WrapError, match=f"--port={port}: cannot listen there: .*choose another with --port"):
            service.listen(app, "127.0.0.1", port)
    finally:
        server.close()


def test_missing_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    service.check_installed()
    monkeypatch.setattr(service.importlib.util, "find_spec", lambda name: None if name == "waitress" else object())
    with pytest.raises(WrapError, match=r"--serve needs waitress, which is not installed: pip install"):
        service.check_installed()
