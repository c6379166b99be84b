"""What the hub on the loopback does with an upload: repositories, large files, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LARGE = 5 * 2**20  # bytes; a larger file, or one of weights, is no part of git itself
WEIGHTS = (".safetensors", ".bin")
ROUTES = {
    "create": re.compile(r"/api/repos/create"),
    "validate": re.compile(r"/api/validate-yaml"),
    "modes": re.compile(r"/api/models/(?P<id>.+)/preupload/main"),
    "batch": re.compile(r"/(?P<id>.+)\.git/info/lfs/objects/batch"),
    "object": re.compile(r"/lfs/(?P<oid>[0-9a-f]{64})"),
    "commit": re.compile(r"/api/models/(?P<id>.+)/commit/main"),
}


class NotAllowed(Exception):
    """status: 400, 409 or 404, as the hub answers; answer: its body"""

    def __init__(self, status: int, code: str = "", **answer: str) -> None:
        self.status, self.code, self.answer = status, code, answer


@dataclass
class Uploads:
    """place: a folder for what is uploaded
    current: the folder of a repository's newest commit; None if there is no such repository
    publish: makes a folder the newest commit of a repository: (id, folder, commit, private)
    on_request: called with the name of the route before it is answered
    """

    place: Path
    current: Callable[[str], Path | None]
    publish: Callable[[str, Path, str, bool], None]
    on_request: Callable[[str], None] = lambda route: None
    private: dict[str, bool] = field(default_factory=dict)
    commits: int = 0

    def answer(self, path: str, body: bytes, url: str) -> dict[str, Any]:
        for route, pattern in ROUTES.items():
            if match := pattern.fullmatch(path):
                self.on_request(route)
                answer: dict[str, Any] = getattr(self, f"_{route}")(body, url, **match.groupdict())
                return answer
        raise NotAllowed(404)

    def _create(self, body: bytes, url: str) -> dict[str, Any]:
        asked = json.loads(body)
        owner = asked.get("organization") or "me"
        name = f"{owner}/{asked['name']}"
        if self.current(name) is not None:
            raise NotAllowed(409, url=f"{url}/{name}")
        private = bool(asked.get("private") or asked.get("visibility") == "private")
        self._publish(name, self._new_folder(), private)
        return {"url": f"{url}/{name}", "id": name}

    def _validate(self, body: bytes, url: str) -> dict[str, Any]:
        text = json.loads(body)["content"]
        if not text.startswith("---\n"):
            raise NotAllowed(400)
        return {"errors": [], "warnings": []}

    def _modes(self, body: bytes, url: str, id: str) -> dict[str, Any]:
        self._folder(id)
        files = [
            {
                "path": file["path"],
                "shouldIgnore": False,
                "uploadMode": "lfs"
                if file["path"].endswith(WEIGHTS) or file["size"] > LARGE
                else "regular",
            }
            for file in json.loads(body)["files"]
        ]
        return {"files": files}

    def _batch(self, body: bytes, url: str, id: str) -> dict[str, Any]:
        self._folder(id)
        objects = []
        for one in json.loads(body)["objects"]:
            known = (self.place / one["oid"]).exists()
            actions = {"actions": {"upload": {"href": f"{url}/lfs/{one['oid']}"}}}
            objects.append(one | ({} if known else actions))
        return {"transfer": "basic", "objects": objects}

    def _object(self, body: bytes, url: str, oid: str) -> dict[str, Any]:
        if hashlib.sha256(body).hexdigest() != oid:
            raise NotAllowed(400)
        (self.place / oid).write_bytes(body)
        return {}

    def _commit(self, body: bytes, url: str, id: str) -> dict[str, Any]:
        folder = self._new_folder()
        shutil.copytree(self._folder(id), folder, dirs_exist_ok=True)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                continue
            target = folder / value["path"]
            if line["key"] == "deletedFile":
                target.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if line["key"] == "lfsFile":
                shutil.copyfile(self.place / value["oid"], target)
            else:
                assert (line["key"], value["encoding"]) == ("file", "base64")
                target.write_bytes(base64.b64decode(value["content"]))
        commit = self._publish(id, folder, self.private[id])
        return {"commitUrl": f"{url}/{id}/commit/{commit}", "commitOid": commit}

    def _folder(self, id: str) -> Path:
        folder = self.current(id)
        if folder is None:
            raise NotAllowed(404, "RepoNotFound")
        return folder

    def _new_folder(self) -> Path:
        self.commits += 1
        folder = self.place / f"commit-{self.commits}"
        folder.mkdir()
        return folder

    def _publish(self, id: str, folder: Path, private: bool) -> str:
        commit = hashlib.sha1(str(self.commits).encode()).hexdigest()
        self.private[id] = private
        self.publish(id, folder, commit, private)
        return commit
