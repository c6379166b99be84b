"""What has been run: list the runs below a folder, show one, compare two, delete what is left over.

    python -m dsnot_exp.runs                                    all runs below outputs/
    python -m dsnot_exp.runs --filter prune=wanda --filter 'sparsity>=0.6' --sort=-time
    python -m dsnot_exp.runs show 73a59ff0
    python -m dsnot_exp.runs diff 73a59ff0 1f2e3d4c
    python -m dsnot_exp.runs clean

A run is given by its folder, its folder's name, or the start or end of the name, such as the hash.

Exit codes: 0: success; 1: a result file could not be read, or something could not be deleted; 2:
invalid request."""

from __future__ import annotations

import sys
from typing import NoReturn

from dsnot_exp.runs.fields import fields, known_keys, resolve
from dsnot_exp.runs.find import UNREADABLE, find
from dsnot_exp.runs.request import Request, arranged, parser, understood
from dsnot_exp.utils.command_line import run_and_exit
from dsnot_exp.utils.errors import RequestError


def main() -> NoReturn:
    run_and_exit(_command)


def _command() -> int:
    given = parser("python -m dsnot_exp.runs", __doc__).parse_args(arranged(sys.argv[1:]))
    request = understood(given)
    return COMMANDS[request.command](request)


def list_runs(request: Request) -> int:
    from dsnot_exp.runs.columns import asked, usual
    from dsnot_exp.runs.listing import print_csv, print_json, print_runs
    from dsnot_exp.runs.select import chosen, conditions, in_order_of

    given, everything = request.given, find(request.folder)
    if not everything:
        raise RequestError(f"{request.folder}: holds no run; give a folder of runs")
    runs = {str(one.folder): one for one in everything}
    rows = [fields(one) for one in everything]
    keys = given.columns.split(",") if given.columns else None
    if keys is not None:
        keys = [resolve(k.strip(), known_keys(rows), f"--columns {given.columns}") for k in keys]
    kept = chosen(rows, conditions(given.filter, rows))
    kept = in_order_of(kept, given.sort, known_keys(rows)) if given.sort else kept
    if given.json or given.csv:
        (print_json if given.json else print_csv)(kept, keys)
    elif kept:
        columns = asked(keys) if keys is not None else usual(kept)
        print_runs([runs[row["folder"]] for row in kept], kept, columns)
    else:
        print(f"none of the {len(rows)} runs in {request.folder} matches")
    return int(any(runs[row["folder"]].state == UNREADABLE for row in kept))


def show_run(request: Request) -> int:
    from dsnot_exp.runs.choose import choose
    from dsnot_exp.runs.show import as_json, show
    from dsnot_exp.runs.weights import measured

    found = choose(request.runs[0], request.folder)
    speed = measured(found) if request.given.measure else None
    if request.given.json:
        print(as_json(found, speed))
    else:
        show(found, speed)
    return int(found.state == UNREADABLE)


def diff_runs(request: Request) -> int:
    from dsnot_exp.runs.choose import choose
    from dsnot_exp.runs.diff import difference
    from dsnot_exp.runs.diff_sheet import print_difference

    a, b = (choose(word, request.folder) for word in request.runs)
    found = difference(a, b)
    if request.given.json:
        print(found.as_json())
    else:
        print_difference(found)
    return 0


def clean_runs(request: Request) -> int:
    from dsnot_exp.runs.clean import clean

    given = request.given
    return clean(request.folder, given.yes, given.unfinished, given.stores)


COMMANDS = {"list": list_runs, "show": show_run, "diff": diff_runs, "clean": clean_runs}

if __name__ == "__main__":
    main()
