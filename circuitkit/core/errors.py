"""Errors that a user can cause and mend. Each message says what was given, what was wanted, and the mend."""


class CircuitKitError(Exception):
    """Root of every error caused by input; the command line prints it as one line and exits with 2."""


class ModelError(CircuitKitError):
    """A model could not be found, is of no supported family, or holds unusable weights."""


class TaskError(CircuitKitError):
    """A task or a file of prompts could not be read, or too few of its prompts can be used."""


class OptionError(CircuitKitError):
    """An option does not exist, or does not go with the models, the task or the other options."""


class ResultError(CircuitKitError):
    """A result could not be written or read back."""
