"""Checks of `verify_label.py` of a server with ``--authentication``: whose token is good for what.

Each yields a name, whether the check is good, and what came of it.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

from label_trust import Check

# run by the server's Python, which has PyJWT: a key pair of a realm, and tokens of its users
_TOKENS = """
import json, time, jwt
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import rsa
key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()
now, roles = int(time.time()), ["monailabel-" + r for r in ("admin", "reviewer", "annotator", "user")]
def token(roles, by=key, algorithm="RS256", **more):
    claims = {"preferred_username": "ann", "email": "a@b", "name": "Ann", "exp": now + 3600,
    "realm_access": {"roles": roles}}
    return jwt.encode({k: v for k, v in {**claims, **more}.items() if v is not None}, by, algorithm)
print(json.dumps({"public": "".join(public.split("\\n")[1:-2]), "all": token(roles), "user": token(roles[3:]),
    "annotator": token(roles[2:]), "other": token([]), "expired": token(roles, exp=now - 60), "foreign": token(roles,
    other),
    "unsigned": token(roles, None, "none"), "no roles": token(roles, realm_access=None),
    "no name": token(roles, preferred_username=None)}))
"""


class _Realm(BaseHTTPRequestHandler):
    """What MONAI Label asks a realm of Keycloak for."""

    tokens: ClassVar[dict[str, str]] = {}

    def _send(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path.endswith("openid-configuration"):
            self._send({"token_endpoint": f"http://127.0.0.1:{self.server.server_port}/token"})  # type: ignore[attr-defined]
        else:
            self._send({"public_key": self.tokens["public"]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send({"access_token": self.tokens["user"], "token_type": "bearer"})

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


def authentication(start: Callable[..., Any], server: Any, model: str, python: Path) -> Check:
    """A server with ``--authentication``, and a realm of our own: who may ask what."""
    made = subprocess.run([python, "-c", _TOKENS], capture_output=True, text=True, check=True)
    _Realm.tokens = tokens = json.loads(made.stdout)
    realm = HTTPServer(("127.0.0.1", 0), _Realm)
    threading.Thread(target=realm.serve_forever, daemon=True).start()
    process = start("--authentication", f"http://127.0.0.1:{realm.server_port}/realms/monailabel")
    head = f"{tokens['all'].split('.')[0]}."
    forged = (
        base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=") + tokens["all"][len(head) - 1 :]
    )

    def ask(method: str, path: str, token: str | None, **how: Any) -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return int(server(method, path, headers=headers, **how)[0])

    expected = {
        None: 401, "nonsense": 401, "expired": 401, "foreign": 401, "unsigned": 401, "no roles": 401, "no name": 401,
        "other": 403, "user": 200, "all": 200,
    }  # fmt: skip
    for name, status in expected.items():
        got = ask("GET", "/info/", tokens.get(name, name) if name else None)
        yield f"token: {name}", got == status, str(got)
    yield "token: forged with a shared secret", ask("GET", "/info/", forged) == 401, ""
    infer = {
        "method": "POST",
        "path": f"/infer/{model}?image=straight&output=json",
        "body": {"regions": "anterior"},
        "files": {},
    }
    yield "inference with a user's token", ask(token=tokens["user"], **infer) == 200, ""
    roles = {
        ("POST", f"/train/{model}"): "all", ("DELETE", "/train/"): "all", ("POST", f"/batch/infer/{model}"): "all",
        ("GET", "/logs/"): "all", ("POST", "/scoring/region_confidence"): "annotator",
    }  # fmt: skip
    for (method, path), role in roles.items():
        got = ask(method, path, tokens["user"])
        yield f"{method} {path} needs more than a user", got == 403, f"{got}; {role}"
    api = json.loads(server("GET", "/openapi.json")[1])["paths"]
    paths = [(method.upper(), path) for path, methods in api.items() for method in methods]
    paths += [("GET", "/ohif/"), ("GET", "/proxy/dicom/x"), ("POST", "/infer/wsi/x"), ("PUT", "/datastore/"), ("GET",
    "/"),
              ("POST", "/reload"), ("GET", "/docs"), ("GET", "/openapi.json"), ("GET",
              "/static/ohif/index.html")]  # fmt: skip
    without = []
    for method, path in paths:
        path = path.replace("{model}", model).replace("{", "").replace("}", "")
        status = ask(method, path, None)
        if status not in (401, 403, 400):
            without.append(f"{method} {path} ({status})")
    public = ("/auth/", "/docs", "/openapi.json", "/static/", "/ (")
    yield (
        "all others ask for a token",
        all(any(name in entry for name in public) for entry in without),
        ", ".join(without),
    )
    process.terminate()
    process.wait(60)
    realm.shutdown()
