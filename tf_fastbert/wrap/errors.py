"""The error that ends a wrapper with one line and no traceback."""


class WrapError(Exception):
    """A mistake in the command line or in an input file; the message names the culprit and what to do.

    Attributes:
        status: the exit status: 2 for the command line itself, 1 for everything else.
    """

    def __init__(self, message: str, status: int = 1):
        super().__init__(message)
        self.status = status
