"""Errors whose message is meant for the user."""


class InputError(Exception):
    """Something from outside is unusable: a file, a setting, a server's answer.

    The message names the file (and the tile or row), what was expected, what was found and what to do. It is shown
    without a traceback.
    """


class DivergedError(InputError):
    """A loss or a weight of a training run is not finite: its settings are unsuitable."""
