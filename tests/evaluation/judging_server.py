"""A real HTTP server that speaks OpenAI's chat completions and has the faults of real ones."""

import hashlib
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class JudgingServer:
    """Prefers the longer answer. Of the first tries of questions, drawn by their hash, `timeouts` hang, `nonsense` get
    words instead of a verdict, and `refusals` are declined; every other status can be set by hand."""

    def __init__(self, timeouts: float = 0.0, nonsense: float = 0.0, refusals: float = 0.0, hang: float = 1.0) -> None:
        self.timeouts, self.nonsense, self.refusals, self.hang = timeouts, nonsense, refusals, hang
        self.status = 200
        self.asked: Counter[str] = Counter()
        self.judged: Counter[str] = Counter()
        self.keys: set[str] = set()
        self._lock = threading.Lock()
        self._port = 0
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def start(self) -> None:
        """Listen, after a stop at the same port."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
        self._server.daemon_threads = True
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        text = body["messages"][-1]["content"]
        name = hashlib.sha256(text.encode()).hexdigest()
        with self._lock:
            self.asked[name] += 1
            is_first = self.asked[name] == 1
        if self.status != 200:
            return self.status, {"error": {"message": "set by hand"}}
        drawn = int(name[:8], 16) / 2**32 if is_first else 1.0
        if drawn < self.timeouts:
            time.sleep(self.hang)
        if self.timeouts <= drawn < self.timeouts + self.nonsense:
            return 200, completion('I would say {"better": "first"}, mostly.')
        if drawn >= 1 - self.refusals and is_first:
            return 200, completion("", refusal="I cannot judge this.")
        pair = json.loads(text[text.index("{") : text.rindex("}", 0, text.index("Reply with")) + 1])
        first, second = len(pair["first"]), len(pair["second"])
        better = "tie" if first == second else "first" if first > second else "second"
        with self._lock:
            self.judged[name] += 1
        return 200, completion(json.dumps({"better": better}))


def completion(text: str, refusal: str | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107},
    }


def _handler(judging: JudgingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            judging.keys.add(self.headers.get("Authorization", ""))
            status, answer = judging.answer(body)
            written = json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(written)))
                self.end_headers()
                self.wfile.write(written)
            except OSError:
                pass  # the other side has given up

        def log_message(self, *_: object) -> None:
            pass

    return Handler
