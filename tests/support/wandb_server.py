"""As much of a W&B server as an unmodified `wandb` asks for, on this machine."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.wandb_sweeps import Sweeps

FLAT = ("historyLineCount", "eventsLineCount", "logLineCount")
KEY = "0123456789" * 4
TAILS = {"historyTail": "wandb-history.jsonl", "eventsTail": "wandb-events.jsonl"}


@dataclass
class Run:
    """What the server knows of a run: its latest attributes, its lines, its files."""

    attributes: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)  # file -> offset -> line
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None  # once it has ended

    @property
    def state(self) -> str:
        """As W&B shows it, except that it says `crashed` once it has not heard of a run for some
        minutes."""
        if self.exit_code is None:
            return "running"
        return "failed" if self.exit_code else "finished"

    def history(self) -> list[dict[str, Any]]:
        return self.parsed("wandb-history.jsonl")

    def parsed(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for _, line in sorted(self.lines.get(name, {}).items())]


@dataclass
class Server:
    runs: dict[str, Run] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)  # everything that was sent, addresses too
    operations: list[str] = field(default_factory=list)
    sweeps: Sweeps = field(default_factory=Sweeps)
    url: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """For a process that is to find this server, with a key that it accepts."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "NO_PROXY": "127.0.0.1"}

    def graphql(self, request: dict[str, Any]) -> dict[str, Any]:
        operation = re.search(r"(?:mutation|query)\s+(\w+)", request["query"])
        name = request.get("operationName") or (operation[1] if operation else "")
        given = request.get("variables") or {}
        self.operations.append(name)
        if answer := self.sweeps.graphql(name, given):
            return answer
        if name == "UpsertBucket":
            known = {k: v for k, v in given.items() if v is not None}
            new = given["name"] not in self.runs
            run = self.runs.setdefault(given["name"], Run())
            run.attributes.update(known)
            return {"upsertBucket": {"bucket": self.bucket(given["name"]), "inserted": new}}
        if name == "RunResumeStatus":
            bucket = self.bucket(given["name"]) if given["name"] in self.runs else None
            return {"model": {"id": "p", "name": "p", "entity": ENTITY, "bucket": bucket}}
        if name == "CreateRunFiles":
            files = [
                {"name": file, "uploadUrl": f"{self.url}/upload/{given['run']}/{file}"}
                for file in given["files"]
            ]
            payload = {"runID": given["run"], "uploadHeaders": [], "files": files}
            return {"createRunFiles": payload}
        if name == "ServerFeaturesQuery":
            return {"serverInfo": {"features": []}}
        return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}"}}

    def bucket(self, name: str) -> dict[str, Any]:
        run = self.runs[name]
        found: dict[str, Any] = {"id": name, "name": name, "displayName": name, "tags": []}
        config = json.loads(run.attributes.get("config", "{}"))
        own = config.get("_wandb", {"value": {}})["value"]  # W&B resumes what has a "t" here
        found |= {"config": json.dumps(config), "wandbConfig": json.dumps(own)}
        for key, (tail, file) in zip(FLAT, [*TAILS.items(), ("", "output.log")], strict=True):
            lines = run.lines.get(file, {})
            found[key] = len(lines)
            found |= {tail: json.dumps([lines[max(lines)]] if lines else [])} if tail else {}
        found["summaryMetrics"] = (run.lines.get("wandb-summary.json") or {0: "{}"})[0]
        return found | {"project": {"id": "p", "name": "p", "entity": ENTITY}}

    def receive(self, path: str, body: bytes) -> dict[str, Any]:
        self.bodies += [path.encode(), body]
        if path == "/graphql":
            return {"data": self.graphql(json.loads(body))}
        if stream := re.fullmatch(r"/files/.*/([^/]+)/file_stream", path):
            run, sent = self.runs[stream[1]], json.loads(body)
            for name, chunk in (sent.get("files") or {}).items():
                lines = run.lines.setdefault(name, {})
                lines |= dict(enumerate(chunk["content"], chunk["offset"]))
            run.exit_code = sent["exitcode"] if sent.get("complete") else None
        if upload := re.fullmatch(r"/upload/([^/]+)/(.+)", path):
            self.runs[upload[1]].files[upload[2]] = body
        return {}


ENTITY = {"id": "e", "name": "me"}


@contextmanager
def wandb_server() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            data = json.dumps(server.receive(self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_PUT = do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """W&B drops its connections when it is done."""

    http = Quiet(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
