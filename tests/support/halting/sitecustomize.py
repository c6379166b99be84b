"""With HALT_AT=PATH:COUNT a process stops for good once it has written the COUNT-th file whose path
ends with PATH, so that a test can kill it at exactly this point, however slow the machine is.
"""

import os
import threading

path, _, wanted = os.environ.get("HALT_AT", "").partition(":")
if path:
    replace, written = os.replace, []

    def replace_and_halt(source, target, **options):  # type: ignore[no-untyped-def]
        replace(source, target, **options)
        if str(target).endswith(path):
            written.append(target)
            if len(written) == int(wanted):
                threading.Event().wait()

    os.replace = replace_and_halt
