"""Digests that tell whether two computations would give the same numbers."""

import hashlib
import json
from typing import Any


def digest(value: Any) -> str:  # noqa: ANN401 - anything that JSON can hold
    """SHA-256 (first 16 hex digits) of a JSON-able value, independent of the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
