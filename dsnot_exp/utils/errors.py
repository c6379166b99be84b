"""The two kinds of errors that end a run, and the exit codes."""

INTERRUPTED = 130  # the exit code after Ctrl-C


class DsnotError(Exception):
    """A one-line message for the user, with the problem and the remedy."""

    exit_code = 1


class RequestError(DsnotError):
    """Invalid request, detected before any weights are loaded. Exit code 2."""

    exit_code = 2


class RunError(DsnotError):
    """A valid request whose run failed: NaN in a layer, no network, a full disk. Exit code 1."""


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of a library's error message, or its class name if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:limit]
