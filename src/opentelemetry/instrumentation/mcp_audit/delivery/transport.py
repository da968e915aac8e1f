# SPDX-License-Identifier: Apache-2.0
"""What a transport is: it sends one batch and says what came of it."""

from __future__ import annotations

from typing import Protocol

from .answer import Answer
from .otlp import Batch


class Transport(Protocol):
    """Used by one thread at a time; keeps its connection."""

    def send(self, batch: Batch) -> Answer:
        """Send the batch (an empty one asks whether anybody is there). Never raises for what the network does."""

    def close(self) -> None:
        """Let the connection go; the next batch opens one."""
