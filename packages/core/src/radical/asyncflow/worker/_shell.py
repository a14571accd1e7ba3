"""Command lines that mean the same with and without a shell."""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["plain_words"]

_PLAIN = re.compile(r"[ \t]*[\w@%+:,./=-]+(?:[ \t]+[\w@%+:,./=-]+)*[ \t]*", re.ASCII)

# Reserved words and builtins of sh, dash, bash, ksh and zsh: every word that one of them
# might not look up in PATH.
_SHELL_WORDS = """
. : alias autoload bg bind bindkey break builtin bye caller case cd chdir command compgen
complete compopt continue coproc declare dirs disown do done echo elif else emulate enable
end esac eval exec exit export false fc fg fi float for foreach function functions getln
getopts global hash help hist history if in integer jobs kill let limit local logout mapfile
namespace nocorrect noglob popd print printf pushd pushln pwd read readarray readonly rehash
repeat return sched select set setopt shift shopt source stop suspend test then time times
trap true ttyctl type typeset ulimit umask unalias unfunction unhash unlimit unset unsetopt
until vared wait whence where which while
"""
_NOT_PROGRAMS = frozenset(_SHELL_WORDS.split())


def plain_words(line: str, env: Mapping[bytes, bytes]) -> list[str] | None:
    """Return the words of *line* if they can be executed as ``sh -c`` would, else None.

    They can if the line has no metacharacter, quote, glob, tilde or newline, and if its
    first word is no assignment, job, reserved word or builtin, and no function that
    bash would import from *env* (``module`` is one on many clusters).  A line with a
    character outside ASCII is left to the shell.
    """
    if not _PLAIN.fullmatch(line):
        return None
    words = line.split()
    first = words[0]
    if "=" in first or first[0] == "%" or first in _NOT_PROGRAMS:
        return None
    if b"BASH_FUNC_%s%%%%" % first.encode() in env:
        return None
    return words
