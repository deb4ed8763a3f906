"""Tokens; `tests/integration/verify_label.py` tests the same with MONAI Label, PyJWT and a realm."""

from __future__ import annotations

import types
from typing import Any

import pytest
from conemos_bundle.hosts.label.authentication import ALGORITHMS, accept_tokens


class InvalidTokenError(Exception):
    """PyJWT's."""


class HTTPException(Exception):  # noqa: N818 - its name in fastapi
    def __init__(self, status_code: int, detail: str) -> None:
        self.status_code, self.detail = status_code, detail


@pytest.fixture
def auth() -> Any:
    """As ``monailabel.endpoints.user.auth``, which calls ``jwt.decode`` without algorithms."""

    def decode(token: str, key: str, options: dict[str, bool], algorithms: list[str] | None = None) -> dict[str, Any]:
        if not algorithms or token == "forged":
            raise InvalidTokenError("an algorithm is needed" if not algorithms else "signature")
        return {"good": {"realm_access": {"roles": ["user"]}}, "poor": {}, "far": {"far": True}}[token]

    def from_token(token: str) -> list[str]:
        payload = module.jwt.decode(token, "key", options={"verify_signature": True})
        if payload.get("far"):
            raise ConnectionError("no route")
        roles: list[str] = payload.get("realm_access").get("roles")
        return roles

    module = types.SimpleNamespace(
        jwt=types.SimpleNamespace(decode=decode), from_token=from_token, InvalidTokenError=InvalidTokenError,
        HTTPException=HTTPException, settings=types.SimpleNamespace(MONAI_LABEL_AUTH_REALM_URI="http://realm"),
    )  # fmt: skip
    return module


def test_tokens(auth: Any) -> None:
    with pytest.raises(InvalidTokenError, match="an algorithm is needed"):  # MONAI Label alone takes none
        auth.from_token("good")
    accept_tokens(auth, ConnectionError)
    assert auth.from_token("good") == ["user"]
    with pytest.raises(InvalidTokenError, match="signature"):
        auth.from_token("forged")
    with pytest.raises(InvalidTokenError, match="without the fields of a user"):
        auth.from_token("poor")
    with pytest.raises(HTTPException) as refused:
        auth.from_token("far")
    assert (refused.value.status_code, refused.value.detail) == (503, "http://realm does not answer")


def test_no_algorithm_has_a_shared_secret() -> None:
    assert ALGORITHMS and not any(name.startswith("HS") or name.lower() == "none" for name in ALGORITHMS)
