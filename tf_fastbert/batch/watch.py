"""A process that ends when another one does: a killed job leaves no workers behind."""

from __future__ import annotations

import os
import threading
import time

_SECONDS = 1.0


def end_with(pid: int) -> None:
    """Ends this process soon after the process `pid`, of this machine and user, has ended."""

    def watch() -> None:
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name=f"ends with {pid}", daemon=True).start()
