"""The words of the command line, flags and options in any order, read before Hydra reads them."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _VersionAction
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from dsnot_exp import __version__
from dsnot_exp.methods import registry
from dsnot_exp.utils.errors import RequestError, first_line

VERSION = f"dsnot_exp {__version__}"
MODES = ("run", "multirun", "cfg", "info", "shell_completion")
INFO = ("-i", "--info")


class Words:
    """What the words ask for. `--version` prints the version and ends the program.

    options: the words KEY=VALUE
    """

    def __init__(self, words: list[str]) -> None:
        self.flags = _parse(words)
        self.options: list[str] = self.flags.overrides
        given = [f"--{name.replace('_', '-')}" for name in MODES if vars(self.flags)[name]]
        if len(given) > 1:
            raise RequestError(f"{' '.join(given)}: choose one of these flags")
        if self.flags.resolve and not (self.flags.cfg or self.flags.help):
            raise RequestError("--resolve: works with --cfg job only")

    @property
    def completes(self) -> bool:
        """Whether the shell asks for a completion."""
        return bool(self.flags.shell_completion)

    @property
    def starts(self) -> bool:
        """Whether the words start a run or a sweep; else they only show something."""
        flags = self.flags
        shows = (flags.help, flags.hydra_help, flags.cfg, flags.info, flags.shell_completion)
        return not (any(shows) or flags.experimental_rerun)

    @property
    def sweeps(self) -> bool:
        modes = [word for word in self.options if word.startswith("hydra.mode=")]
        return self.flags.multirun or bool(modes and modes[-1].endswith("=MULTIRUN"))

    def parsed(self, key: str | None = None) -> list[Override]:
        """The options, or those of one key, parsed. Raises RequestError for a word that is none."""
        return [
            _parse_option(word)
            for word in self.options
            if key is None or word.partition("=")[0].lstrip("+~") == key
        ]

    def arranged(self) -> list[str]:
        """The words with all flags first: Hydra's parser accepts options in one run only. Of an
        option that is given twice, the last counts."""
        options = self.options
        last = {word.partition("=")[0]: index for index, word in enumerate(options)}
        kept = [o for index, o in enumerate(options) if last[o.partition("=")[0]] == index]
        kept = [_as_list(word) for word in kept] if self.sweeps and self.starts else kept
        found = [(n, v) for n, v in vars(self.flags).items() if n != "overrides" and v]
        named = [(f"--{name.replace('_', '-')}", value) for name, value in found]
        return [*(n if value is True else f"{n}={value}" for n, value in named), *kept]


def _as_list(word: str) -> str:
    """A single value of a method's option as a list of one. Hydra would set a single value on the
    default method before it looks at the methods that are swept: with prune=sparsegpt,alps
    prune.damping=0.1 it would say that Wanda has no such option."""
    key, _, value = word.partition("=")
    group, _, option = key.partition(".")
    single = option and group in registry.OURS and not _parse_option(word).is_sweep_override()
    return f"{key}=choice({value})" if single else word


def _parse_option(word: str) -> Override:
    if word.startswith("=") or ("=" not in word and not word.startswith("~")):
        raise RequestError(f"{word}: expected KEY=VALUE, such as prune=wanda; --help lists flags")
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        reason = first_line(error).removeprefix("LexerNoViableAltException: ")
        key, _, value = word.partition("=")
        value = value.strip("'\"")
        raise RequestError(
            f"{word}: cannot be read ({reason}); close every bracket and quote, and put a value "
            f"with special characters into quotes: '{key}=\"{value}\"'"
        ) from error


def _parse(words: list[str]) -> Namespace:
    parser = get_args_parser()
    for action in parser._actions:
        if isinstance(action, _VersionAction):
            action.version = VERSION
    parser.error = _refuse  # type: ignore[method-assign]
    return parser.parse_intermixed_args(_with_info(parser, words))


def _with_info(parser: ArgumentParser, words: list[str]) -> list[str]:
    """`--info` takes a word only if it is one of its topics."""
    topics = next(action.choices for action in parser._actions if "--info" in action.option_strings)
    assert topics is not None
    pairs = zip(words, [*words[1:], ""], strict=False)
    return ["--info=all" if w in INFO and after not in topics else w for w, after in pairs]


def _refuse(message: str) -> NoReturn:
    flag = message.partition("unrecognized arguments: ")[2].partition(" ")[0]
    if not flag:
        raise RequestError(f"{message}; --help lists flags")
    key, _, value = flag.lstrip("-").partition("=")
    raise RequestError(
        f"{flag}: no such flag; an option is written {key}={value or 'VALUE'}, without dashes; "
        "--help lists flags"
    )
