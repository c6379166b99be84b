"""A Hugging Face hub on the loopback: enough of its protocol for the unmodified client libraries.

hub = Hub([Repository("acme/toy", folder, commit)])
...  # a process with HF_ENDPOINT=hub.url
hub.stop()
assert hub.downloaded("acme/toy")["config.json"] == 1
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.hub_uploads import NotAllowed, Uploads

TOKEN = "hf_opensesame"  # opens every gated repository
NARROW = "hf_narrow"  # a fine-grained token, which opens none
INFORMATION = re.compile(
    r"/api/(?P<kind>models|datasets)/(?P<id>.+?)"
    r"(/(?P<what>revision|tree)/(?P<revision>[^/]+)(/(?P<path>.+))?)?"
)
FILE = re.compile(r"/((?P<kind>datasets)/)?(?P<id>.+?)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")


@dataclass(frozen=True)
class Repository:
    """One commit of a repository; its files are those of `folder`, whatever they are now."""

    id: str
    folder: Path
    commit: str
    kind: str = "models"  # or datasets
    names: tuple[str, ...] = ("main",)  # branches and tags of that commit
    gated: bool = False  # everyone may look, only TOKEN may download
    private: bool = False

    def files(self) -> list[str]:
        return sorted(
            p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()
        )

    def entries(self, below: str, recursive: bool) -> Iterator[dict[str, Any]]:
        """What lies in the folder `below`, or anywhere under it, as the hub lists it."""
        folder = self.folder / below
        for path in sorted(folder.rglob("*") if recursive else folder.iterdir()):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file():
                data = path.read_bytes()
                yield {"type": "file", "path": name, "size": len(data), "oid": blob_id(data)}
            else:
                yield {"type": "directory", "path": name, "size": 0, "oid": blob_id(b"")}


def blob_id(data: bytes) -> str:
    """Git's name of a file's content, which is also the hub's ETag."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """Answers between `start` and `stop`, at the same address each time; `requests` holds every
    "METHOD /path" that it was asked for. A repository may be there in several commits.

    uploads: a folder for what is pushed; None: nothing can be
    """

    def __init__(self, repositories: Iterable[Repository], uploads: Path | None = None) -> None:
        self.commits: dict[tuple[str, str], list[Repository]] = {}
        for commit in repositories:
            self.commits.setdefault((commit.kind, commit.id), []).append(commit)
        self.requests: list[str] = []
        self.uploads = Uploads(uploads, self.newest, self._publish) if uploads else None
        self.port = 0  # any that is free, the first time
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.hub, self.port = self, self.server.server_port
        Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def newest(self, id: str) -> Path | None:
        """The folder of a model's newest commit."""
        commits = self.commits.get(("models", id))
        return commits[0].folder if commits else None

    def _publish(self, id: str, folder: Path, commit: str, private: bool) -> None:
        self.commits[("models", id)] = [Repository(id, folder, commit, private=private)]

    def downloaded(self, repository: str) -> Counter[str]:
        """How often each file of a repository was downloaded."""
        pattern = re.compile(rf"GET .*/{re.escape(repository)}/resolve/[^/]+/(.+)")
        return Counter(match[1] for line in self.requests if (match := pattern.fullmatch(line)))


class Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub


class Refusal(Exception):
    """An error that the hub answers with: its status, its code, or only a message."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.headers = status, {"X-Error-Code": code, "X-Error-Message": message}


class Handler(BaseHTTPRequestHandler):
    """Answers one request; every refusal is the one that huggingface.co gives."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.hub.requests.append(f"{self.command} {url.path}")
        try:
            if match := INFORMATION.fullmatch(url.path):
                asked = parse_qs(url.query)
                flags = [asked.get(name, ["false"])[0].lower() for name in ("recursive", "blobs")]
                self._information(*(flag == "true" for flag in flags), **match.groupdict())
            elif match := FILE.fullmatch(url.path):
                self._file(**match.groupdict())
            else:
                raise Refusal(404)
        except Refusal as refusal:
            self._answer(refusal.status, b"{}", refusal.headers)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """An upload, for which only TOKEN is good."""
        body, path = self._body(), urlsplit(self.path).path
        hub = self.server.hub
        hub.requests.append(f"{self.command} {path}")
        try:
            if hub.uploads is None:
                raise Refusal(404)
            if self.command == "POST" and self._token() != TOKEN:
                status = 401 if self._token() is None else 403
                raise Refusal(status, message="You don't have the rights to do this")
            self._answer(200, json.dumps(hub.uploads.answer(path, body, hub.url)).encode())
        except NotAllowed as error:
            body = json.dumps(error.answer).encode()
            self._answer(error.status, body, {"X-Error-Code": error.code})
        except Refusal as refusal:
            self._answer(refusal.status, b"{}", refusal.headers)

    do_PUT = do_POST

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _information(
        self, recursive: bool, blobs: bool, kind: str, id: str, what: str, revision: str, path: str
    ) -> None:
        """A part of the tree where `what` says so, else what the repository is and holds. blobs:
        with the sizes of the files"""
        repository = self._repository(kind, id, revision or "main")
        if what != "tree":
            siblings: list[dict[str, Any]] = [{"rfilename": name} for name in repository.files()]
            for file in siblings if blobs else ():
                file["size"] = (repository.folder / file["rfilename"]).stat().st_size
            facts = {"id": id, "sha": repository.commit, "siblings": siblings, "tags": []}
            access = {
                "private": repository.private,
                "gated": "manual" if repository.gated else False,
            }
            self._answer(200, json.dumps(facts | access).encode())
            return
        below = unquote(path or "")
        if not (repository.folder / below).is_dir():
            raise Refusal(404, "EntryNotFound")
        self._answer(200, json.dumps(list(repository.entries(below, recursive))).encode())

    def _file(self, kind: str | None, id: str, revision: str, path: str) -> None:
        repository = self._repository(kind or "models", id, revision)
        if repository.gated and self._token() is None:
            raise Refusal(401, "GatedRepo", f"Access to {id} is restricted")
        if repository.gated and self._token() == NARROW:
            raise Refusal(403, message="Enable access to public gated repositories")
        headers = {"X-Repo-Commit": repository.commit}
        name = unquote(path)
        if name not in repository.files():
            self._answer(404, b"", headers | {"X-Error-Code": "EntryNotFound"})
            return
        data = (repository.folder / name).read_bytes()
        self._answer(200, data, headers | {"ETag": f'"{blob_id(data)}"'})

    def _repository(self, kind: str, id: str, revision: str) -> Repository:
        token, commits = self._token(), self.server.hub.commits.get((kind, id))
        if commits is None:  # a stranger is not told what is private and what does not exist
            raise Refusal(404 if token else 401, "RepoNotFound", "Repository not found")
        for repository in commits:
            if unquote(revision) in (repository.commit, *repository.names):
                return repository
        raise Refusal(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def _token(self) -> str | None:
        """The token that was sent; a wrong one is refused, whatever it was sent for."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        if token not in (None, TOKEN, NARROW):
            raise Refusal(401, message="Invalid credentials in Authorization header")
        return token

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            if value:
                self.send_header(name, value)
        if "Authorization" not in self.headers:  # as huggingface.co: the client logs it
            self.send_header(
                "X-HF-Warning", "unauthenticated; You are sending unauthenticated requests"
            )
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: `Hub.requests` is the log."""
