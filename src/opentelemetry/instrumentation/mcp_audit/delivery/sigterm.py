# SPDX-License-Identifier: Apache-2.0
"""SIGTERM, where the program leaves it to the system: end well first, then die of it as before.

uvicorn puts its own handler in place while it serves and raises the signal again for the one before it, which is this one
then; gunicorn's workers have their own and leave through ``atexit``.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType


def hook_sigterm(end: Callable[[], None], seconds: Callable[[], float]) -> bool:
    """Have ``end`` called at SIGTERM, for at most so many seconds. False where the program has a handler of its own, or
    where none can be set (not the main thread)."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        return False

    def handler(number: int, frame: FrameType | None) -> None:
        # On another thread: what this one holds just now may be what ending needs, and waiting here is bounded.
        ending = threading.Thread(target=end, name="mcp-audit-end", daemon=True)
        try:
            ending.start()
            ending.join(seconds())
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, handler)
    return True
