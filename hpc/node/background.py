"""One piece of work at a time beside training, waited for before the next, and its error kept for whoever waits."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """A thread for writing: started with an action, waited for before anything that relies on it.

    The thread is no daemon: a process that ends lets it finish what it began.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    @property
    def failed(self) -> bool:
        """Whether the last action ended with an error that nobody has waited for yet."""
        return self._error is not None

    @property
    def busy(self) -> bool:
        """Whether an action is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, action: Callable[[], None]) -> None:
        """Begin an action once the one before has ended. Raises the error of that one."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(action,), name="checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until nothing is under way. Raises the error of what was."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            self._error = error
