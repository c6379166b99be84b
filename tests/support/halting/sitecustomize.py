"""With HALT_AT=PATH:COUNT a process stops for good once it has written the COUNT-th file whose path
ends with PATH, so that a test can kill it at exactly this point, however slow the machine is. With
EVERY_BATCH=1 it writes the finished batches of a perplexity as often as it can.
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

if os.environ.get("EVERY_BATCH"):  # a perplexity keeps each batch at once, not every ten seconds
    from dsnot_exp.evaluate import unfinished

    unfinished.EVERY_S = 0.0
