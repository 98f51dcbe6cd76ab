"""One object for many equal values: thousands of prompts hold the same tokens at the same places."""

from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")
POOLED = 4096


class Pool(Generic[Value]):
    """Hands out the same object for equal values, which must never be changed.

    When it is full it starts anew, so that it stays small; equal values may then be two objects.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Value] = {}

    def one(self, key: Hashable, value: Value) -> Value:
        """The value that was first seen with this key, which must tell values apart."""
        if len(self._known) >= POOLED:
            self._known.clear()
        return self._known.setdefault(key, value)
