"""TAB completion in bash, for `dsnot_exp` and for `python -m dsnot_exp`, which Hydra's ignores.

eval "$(python -m dsnot_exp -sc install=bash)"
"""

from __future__ import annotations

import os
import re

INSTALL = r"""
_dsnot_exp_completion()
{
    local command=("$1")
    if [[ "$COMP_LINE" =~ ^[^\ ]*python[0-9.]*\ +-m\ +dsnot_exp\  ]]; then
        command=("$1" -m dsnot_exp)
    elif [[ "$1" == *python* ]]; then
        return
    fi
    local choices=$(COMP_LINE=$COMP_LINE "${command[@]}" -sc query=bash 2> /dev/null)
    COMPREPLY=($(compgen -W "$choices" -- "${COMP_WORDS[COMP_CWORD]}"))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _dsnot_exp_completion dsnot_exp python python3
"""
UNINSTALL = """
complete -r dsnot_exp python python3
unset -f _dsnot_exp_completion
"""
SCRIPTS = {"install=bash": INSTALL, "uninstall=bash": UNINSTALL}


def hide_flags() -> None:
    """Leave only the options of the line to complete: Hydra would take a flag for one."""
    line = os.environ.get("COMP_LINE", "")
    words = re.sub(r"^.*?dsnot_exp(?=\s)", "", line)
    os.environ["COMP_LINE"] = "dsnot_exp " + re.sub(r"(?<=\s)-\S+\s+", "", words).lstrip()
