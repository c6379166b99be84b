"""Python imports this file at start if its folder is on PYTHONPATH.

With HALT_AT=NAME:COUNT a process stops for good once it has written the COUNT-th file of that name,
so that a test can kill it at exactly this point, however slow the machine is.
"""

import os
import threading

name, _, wanted = os.environ.get("HALT_AT", "").partition(":")
if name:
    replace, written = os.replace, []

    def replace_and_halt(source, target, **options):  # type: ignore[no-untyped-def]
        replace(source, target, **options)
        if os.path.basename(target) == name:
            written.append(target)
            if len(written) == int(wanted):
                threading.Event().wait()

    os.replace = replace_and_halt
