"""--serve: a local web page and a JSON endpoint for one QuestionAnswerer.

    GET  /            the page; it works without JavaScript too
    POST /            the page's form: passage, questions (one a line) -> the page with the answers
    POST /api/answer  {"passage": "...", "questions": ["..."]} -> see docs/guide_asking.md
    GET  /healthz     {"status": "ok", ...}

The model answers one request at a time; others wait. Texts are escaped by Jinja, and the page may load nothing that does not come
from here (Content-Security-Policy). Requests that another site makes a browser send are refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import ipaddress
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tf_fastbert.answering.errors import QuestionError
from tf_fastbert.answering.replies import Reply
from tf_fastbert.answering.service_values import as_json, describe, latency, parts
from tf_fastbert.wrap.errors import WrapError

if TYPE_CHECKING:
    from tf_fastbert.answering.answerer import QuestionAnswerer

_THREADS = 4
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may ask for.

    Attributes:
      passage: characters.
      question: characters of one question.
      questions: how many.
      candidates: answers that are returned for a question, if the request does not say.
      body: bytes of a request.
      wait_s: seconds that a request waits for the model; then it gets a 503.
    """

    passage: int = 20_000
    question: int = 1_000
    questions: int = 16
    candidates: int = 5
    body: int = 1 << 19
    wait_s: float = 30.0


class _RequestError(Exception):
    """What is wrong with a request, and the HTTP status for it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def check_installed() -> None:
    """Sees that the web libraries are there, before a model is loaded.

    Raises:
      WrapError: one is not.
    """
    missing = [name for name in ("flask", "waitress") if importlib.util.find_spec(name) is None]
    if missing:
        raise WrapError(
            f"--serve needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'flask>=3.1' 'waitress>=3' (the extra tf_fastbert[serve])"
        )


def create_app(answerer: QuestionAnswerer, *, passage: str = "", host: str = "127.0.0.1", limits: Limits = Limits()) -> Any:
    """The Flask application.

    Args:
      passage: what the page shows at first.
      host: the address that it will listen on. On a loopback address only requests to a loopback name are answered, so that a page
        of another site cannot reach it by a name of its own (DNS rebinding).
    """
    import flask
    from werkzeug.exceptions import HTTPException, SecurityError

    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = limits.body
    app.config["MAX_FORM_MEMORY_SIZE"] = limits.body
    if _is_loopback(host):
        app.config["TRUSTED_HOSTS"] = ["127.0.0.1", "localhost", "[::1]"]
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    lock = threading.Lock()
    model = describe(answerer)

    @contextlib.contextmanager
    def model_to_myself() -> Iterator[None]:
        if not lock.acquire(timeout=limits.wait_s):
            raise _RequestError("the model is busy with other questions: try again in a moment", 503)
        try:
            yield
        finally:
            lock.release()

    def answers(text: str, questions: list[str]) -> list[Reply]:
        _check_sizes(text, questions, limits)
        with model_to_myself():
            try:
                return answerer.ask_all(text, questions)
            except QuestionError as error:
                raise _RequestError(str(error)) from error

    def page(text: str, questions: str, status: int = 200, **values: Any) -> Any:
        content = flask.render_template(
            "ask.html", passage=text, questions=questions, model=model, limits=limits, parts=parts, **values
        )
        return content, status

    @app.before_request
    def refuse_other_sites() -> None:
        if flask.request.method == "POST" and not _same_origin(flask.request):
            raise _RequestError("requests from other sites are not answered", 403)

    @app.after_request
    def add_headers(response: Any) -> Any:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.get("/")
    def show() -> Any:
        return page(passage, "")

    @app.post("/")
    def ask() -> Any:
        # Browsers send line ends as \r\n.
        text, lines = (flask.request.form.get(name, "").replace("\r\n", "\n") for name in ("passage", "questions"))
        questions = [line.strip() for line in lines.split("\n") if line.strip()]
        try:
            replies = answers(text, questions)
        except _RequestError as error:
            return page(text, lines, error.status, error=str(error))
        return page(text, lines, replies=replies, shown=limits.candidates)

    @app.post("/api/answer")
    def api() -> Any:
        text, questions, count = _read_json(flask.request.get_json(silent=True), flask.request.is_json, limits)
        replies = answers(text, questions)
        return {"model": model, "latency_ms": latency(replies[0]), "results": [as_json(reply, count) for reply in replies]}

    @app.get("/healthz")
    def health() -> Any:
        return {"status": "ok", "model": model}

    def failed(message: str, status: int) -> Any:
        if flask.request.path.startswith("/api/"):
            return {"error": message}, status
        return page("", "", status, error=message)

    @app.errorhandler(_RequestError)
    def wrong_request(error: _RequestError) -> Any:
        return failed(str(error), error.status)

    @app.errorhandler(WrapError)
    def wrong_model(error: WrapError) -> Any:
        return failed(str(error), 500)

    @app.errorhandler(HTTPException)
    def wrong_http(error: HTTPException) -> Any:
        if isinstance(error, SecurityError):  # from TRUSTED_HOSTS, before there is anything to make URLs with
            return flask.Response("this host name is not served here: use http://127.0.0.1\n", 400, mimetype="text/plain")
        if error.code == 413:
            return failed(f"the request is too long: {limits.body} bytes are possible", 413)
        return failed(f"{error.name}: {error.description}", error.code or 500)

    return app


def _check_sizes(text: str, questions: list[str], limits: Limits) -> None:
    if not questions:
        raise _RequestError("no question: ask at least one")
    if len(questions) > limits.questions:
        raise _RequestError(f"{len(questions)} questions: {limits.questions} are possible at once")
    if len(text) > limits.passage:
        raise _RequestError(f"the passage has {len(text)} characters: {limits.passage} are possible", 413)
    longest = max(map(len, questions))
    if longest > limits.question:
        raise _RequestError(f"a question has {longest} characters: {limits.question} are possible", 413)


def _read_json(body: Any, is_json: bool, limits: Limits) -> tuple[str, list[str], int]:
    """The passage, the questions and the number of candidates of a request's body."""
    if not is_json:
        raise _RequestError("the body must be JSON, with Content-Type: application/json", 415)
    if not isinstance(body, dict):
        raise _RequestError('the body must be a JSON object such as {"passage": "...", "questions": ["..."]}')
    unknown = body.keys() - {"passage", "questions", "question", "candidates"}
    if unknown:
        raise _RequestError(f"unknown key {min(unknown)!r}: passage, questions (or question) and candidates are known")
    if not isinstance(body.get("passage"), str):
        raise _RequestError('"passage" must be a string')
    if ("question" in body) == ("questions" in body):
        raise _RequestError('give either "questions", a list of strings, or "question", a string')
    questions = [body["question"]] if "question" in body else body["questions"]
    if not isinstance(questions, list) or not all(isinstance(question, str) for question in questions):
        raise _RequestError('"questions" must be a list of strings, "question" a string')
    count = body.get("candidates", limits.candidates)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise _RequestError('"candidates" must be a number from 1 on')
    return body["passage"], questions, count


def _same_origin(request: Any) -> bool:
    """Whether a request comes from our own page or from no page at all (curl)."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(app: Any, host: str, port: int) -> tuple[Any, list[str]]:
    """Makes a server for `app`, which listens already and answers once its run() is called; port 0 is any free one.

    Returns:
      The server, and the addresses of the page.

    Raises:
      WrapError: it cannot listen there.
    """
    import waitress

    # waitress has a limit of its own, which ends the connection; Flask's, which comes first, explains.
    most = 2 * app.config["MAX_CONTENT_LENGTH"]
    try:
        server = waitress.create_server(app, host=host, port=port, threads=_THREADS, ident=None, max_request_body_size=most)
    except (OSError, ValueError) as error:
        raise WrapError(f"--host={host} --port={port}: cannot listen there: {error}; choose another with --port") from error
    # "localhost" may be an IPv4 and an IPv6 address.
    several = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
    return server, [f"http://{f'[{name}]' if ':' in str(name) else name}:{number}/" for name, number in several]


def serve(answerer: QuestionAnswerer, host: str, port: int, passage: str = "") -> None:
    """Serves until Ctrl-C.

    Raises:
      WrapError: it cannot listen there.
    """
    server, addresses = listen(create_app(answerer, passage=passage, host=host), host, port)
    if not _is_loopback(host):
        print("warning: the page is open to the network, without a password and without encryption", file=sys.stderr)
    print(f"Ask on {' and '.join(addresses)} (Ctrl-C ends)", flush=True)
    server.run()
    print("\nended")
