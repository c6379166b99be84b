"""Export the sparse model of a run, and push it to the hub.

    python -m dsnot_exp.export 73a59ff0                          a folder that transformers loads
    python -m dsnot_exp.export 73a59ff0 --format bitmask         smaller, for dsnot_exp.load_packed
    python -m dsnot_exp.export 73a59ff0 --push me/model --private

A run is given by its folder, its folder's name, or the start or end of the name, such as the hash.

Exit codes: 0: success; 1: the export or the push failed; 2: invalid request."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from dsnot_exp.results.sizes import EXPORTS
from dsnot_exp.runs.choose import choose
from dsnot_exp.runs.request import OUTPUTS
from dsnot_exp.utils.command_line import run_and_exit
from dsnot_exp.utils.errors import RequestError

FORMATS = ("plain", "bitmask", "2:4", "semi-structured")


def main() -> NoReturn:
    run_and_exit(_export, "interrupted; run the same command again")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dsnot_exp.export",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's folder, its name, or the start or end of the name")
    add("--outputs", type=Path, default=OUTPUTS, help="where RUN is looked for (outputs)")
    add("--format", choices=FORMATS, default="plain", help="of the weights (plain)")
    add("--out", type=Path, help="the folder to write (export/FORMAT in the run's folder)")
    add("--push", metavar="REPO_ID", help="upload the folder to this model on the hub")
    add("--private", action="store_true", help="with --push: create the repository as private")
    return parser


def _export() -> int:
    given = _parser().parse_args()
    if given.private and given.push is None:
        raise RequestError("--private: there is no --push; give the repository to create")
    found = choose(given.run, given.outputs)
    if found.run is None:
        why = f": {found.why}" if found.why else ""
        raise RequestError(f"{found.folder}: the run is {found.state}{why}; it has no model")
    result = found.run.result
    out = given.out or found.folder / EXPORTS / given.format.replace(":", "of")
    from dsnot_exp.export.export import export
    from dsnot_exp.utils.quiet import quiet_command

    with quiet_command():
        if given.push is not None:
            from dsnot_exp.export.push import check_repository, push

            check_repository(given.push, given.private)
        export(found.folder, result, given.format, out.expanduser(), given.push)
        if given.push is not None:
            push(out.expanduser(), given.push, given.private)
    return 0


if __name__ == "__main__":
    main()
