"""The errors that users meet, each with its exit code."""

from ebpfcheck.exitcodes import ExitCode


class EbpfcheckError(Exception):
    """An error with one clear line for the user."""

    exit_code = ExitCode.INTERNAL_ERROR


class UsageError(EbpfcheckError):
    """The command line, a file it names, or a setting is wrong."""

    exit_code = ExitCode.USAGE


class CannotRunError(EbpfcheckError):
    """Nothing could be collected."""

    exit_code = ExitCode.COULD_NOT_RUN
