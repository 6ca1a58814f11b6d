"""A hub on 127.0.0.1 that holds one small repository and answers as Hugging Face's and Kaggle's servers do.

It serves the endpoints that huggingface_hub 2 and kagglehub 1 call, keeps a log of the requests, and can be told to
break transfers off, to want a token, to be gated or to fail.
"""

import base64
import hashlib
import json
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SO_LINGER, SOL_SOCKET
from urllib.parse import parse_qs, unquote, urlsplit

REPOSITORY = "org/name"
MODEL = {"ownerSlug": "org", "modelSlug": "model", "instanceSlug": "variation"}
LONG = 4096  # bodies of at least so many bytes can break off: weights, not the hub's answers


class Hub(ThreadingHTTPServer):
    """The server: ``revisions`` holds the files of each revision (of each version, on Kaggle) by their names."""

    daemon_threads = True

    def __init__(self, revisions: Mapping[str, Mapping[str, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.revisions = revisions
        self.log: list[str] = []  # "METHOD path [bytes=…]", in the order of arrival
        self.breaks: list[str] = []  # how the next long bodies end half way: "close" or "reset"
        self.authorization: str | None = None  # the only Authorization that is let in
        self.gated = False
        self.status = 200  # of every answer, when it is no success
        self.url = f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def running(self) -> Iterator["Hub"]:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """Nobody listens at ``url`` from here on."""
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that leaves early is no fault, and what else goes wrong shows in the client."""


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.log.append(f"{self.command} {unquote(path)} {self.headers.get('Range', '')}".rstrip())
        if path.startswith("/storage/"):  # Kaggle's signed addresses need no token
            return self.storage(path)
        if self.server.status != 200:
            return self.refuse(self.server.status, "", "Out of order")
        if path.startswith(f"/api/models/{REPOSITORY}"):
            return self.api(path.removeprefix(f"/api/models/{REPOSITORY}"))
        if path.startswith(f"/{REPOSITORY}/resolve/"):
            return self.resolve(*path.removeprefix(f"/{REPOSITORY}/resolve/").split("/", 1))
        return self.refuse(404, "RepoNotFound", "Repository not found")

    do_HEAD = do_GET  # noqa: N815 - the name that the standard library calls

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        call = self.path.removeprefix("/api/v1/models.ModelApiService/")
        self.server.log.append(" ".join(["POST", call, request.get("path") or ""]).rstrip())
        version = str(request.get("versionNumber") or max(self.server.revisions))
        files = self.server.revisions.get(version, {})
        if self.server.status != 200:
            self.kaggle_refuses(self.server.status, "Out of order")
        elif not self.let_in:
            self.kaggle_refuses(401, "Unauthenticated")
        elif self.server.gated:
            self.kaggle_refuses(403, "Permission 'models.get' was denied")
        elif any(request[key] != value for key, value in MODEL.items()) or not files:
            self.kaggle_refuses(404, "Not found")
        elif call == "GetModelInstance":
            self.send_json({"versionNumber": int(version)})
        elif call == "ListModelInstanceVersionFiles":
            self.send_json({"files": [{"name": name} for name in files], "nextPageToken": ""})
        elif request["path"] not in files:
            self.kaggle_refuses(404, "Not found")
        else:
            self.send_response(302)
            self.send_header("Location", f"{self.server.url}/storage/{version}/{request['path']}?signature=1")
            self.send_body(b"")

    @property
    def let_in(self) -> bool:
        return self.server.authorization in {None, self.headers.get("Authorization")}

    # Hugging Face

    def api(self, path: str) -> None:
        """/api/models/org/name[/revision/REVISION][/tree/REVISION]."""
        revision = unquote(path.rpartition("/")[2]) or "main"
        files = self.files_of(revision)
        if not self.let_in:  # the same as for a repository that is not there
            return self.refuse(401, "RepoNotFound", "Repository not found")
        if files is None:
            return self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if path.startswith("/tree/"):
            tree = [{"type": "file", "path": f, "size": len(b), "oid": etag(b)} for f, b in files.items()]
            return self.send_json(tree)
        siblings = [{"rfilename": name} for name in files]
        return self.send_json({"id": REPOSITORY, "sha": self.commit(revision), "siblings": siblings})

    def resolve(self, revision: str, name: str) -> None:
        """/org/name/resolve/REVISION/NAME."""
        files = self.files_of(revision)
        if self.server.gated:
            return self.refuse(403, "GatedRepo", f"Access to model {REPOSITORY} is restricted")
        if files is None or name not in files:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        return self.send_file(files[name], {"X-Repo-Commit": self.commit(revision), "ETag": f'"{etag(files[name])}"'})

    def commit(self, revision: str) -> str:
        known = {etag(name.encode()) for name in self.server.revisions}
        return revision if revision in known else etag(revision.encode())

    def files_of(self, revision: str) -> Mapping[str, bytes] | None:
        commits = {etag(name.encode()): files for name, files in self.server.revisions.items()}
        return commits.get(self.commit(revision))

    def refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_body(b"")

    # Kaggle

    def kaggle_refuses(self, status: int, message: str) -> None:
        self.send_json({"code": status, "message": message}, status)

    def storage(self, path: str) -> None:
        """/storage/VERSION/NAME, where downloads are redirected to."""
        _, _, version, name = path.split("/", 3)
        assert parse_qs(urlsplit(self.path).query) == {"signature": ["1"]}
        content = self.server.revisions[version][name]
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        self.send_file(content, {"x-goog-hash": f"crc32c=AAAAAA==,md5={md5}"})

    # Both

    def send_json(self, value: object, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_body(json.dumps(value).encode())

    def send_file(self, content: bytes, headers: Mapping[str, str]) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in {"Accept-Ranges": "bytes", **headers}.items():
            self.send_header(name, value)
        self.send_body(content[start:])

    def send_body(self, body: bytes) -> None:
        """The body, or half of it where a break is due; the connection ends with it, so that a stopped hub is gone."""
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        if len(body) < LONG or not self.server.breaks:
            self.wfile.write(body)
            return
        self.wfile.write(body[: len(body) // 2])
        if self.server.breaks.pop(0) == "reset":  # close with an RST
            self.connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_: object) -> None:
        """The log is kept, not printed."""


def etag(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
