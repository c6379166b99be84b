"""The two ways in which a run ends early, and the exit code of each."""


class DsnotError(Exception):
    """A one-line message for the user: what is wrong, and what to do."""

    exit_code = 1


class RequestError(DsnotError):
    """The request makes no sense; found before a model or a data set is loaded. Exit code 2."""

    exit_code = 2


class RunError(DsnotError):
    """The request was fine and the run failed: NaN in a layer, no network, a full disk. Exit 1."""


def first_line(error: BaseException, limit: int = 200) -> str:
    """What a library says went wrong, for a one-line message; its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:limit]
