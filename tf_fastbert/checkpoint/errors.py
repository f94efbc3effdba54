"""The one exception of this package: what is wrong with which file, and what to do."""


class CheckpointError(Exception):
    """A checkpoint (or a file that should become one) is missing, damaged or of the wrong kind."""
