"""The one kind of error that is meant for the user's eyes."""


class InputError(Exception):
    """Something that came from outside is not usable.

    The message names the file (and the tile or row), what was expected, what was found and what to do. It is
    shown without a traceback.
    """


class DivergedError(InputError):
    """Numbers of a training run are not finite any more: its settings are no good."""
