"""Tokens: MONAI Label 0.8.5 names no algorithm to PyJWT 2, which then refuses every token."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import partial
from typing import Any

ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "PS256"]  # with a public key; never a shared secret, or none


def accept_tokens(auth: Any, unreachable: type[Exception]) -> None:
    """Let ``monailabel.endpoints.user.auth`` take tokens that the realm has signed, and refuse others with 401.

    Args:
        auth: that module.
        unreachable: what its client of the realm raises, ``requests.RequestException``.
    """
    jwt = auth.jwt
    auth.jwt = types.SimpleNamespace(decode=partial(jwt.decode, algorithms=ALGORITHMS))
    theirs: Callable[[str], Any] = auth.from_token

    def from_token(token: str) -> Any:
        """Raises: InvalidTokenError: it is no token of the realm's, or has not the fields that it should."""
        try:
            return theirs(token)
        except auth.InvalidTokenError:
            raise
        except unreachable as error:
            raise auth.HTTPException(503, f"{auth.settings.MONAI_LABEL_AUTH_REALM_URI} does not answer") from error
        except Exception as error:  # no roles, no name: theirs trips over it
            raise auth.InvalidTokenError(f"a token without the fields of a user: {error!r}") from error

    auth.from_token = from_token
