"""Command lines for another shell, and commands in containers: what is sent in their place.

What is sent is a command for ``/bin/sh``, so every backend runs it as any other.  What it needs
(the shell, the runtime and the image) is looked for where the command runs.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from ..model import Command, Container, TaskSpec

__all__ = ["wrapped"]

_NO_SHELL = """\
command -v "$1" > /dev/null 2>&1 ||
    { echo "asyncflow: there is no shell $1 on $(uname -n): install it, or use shell=None" >&2
      exit 127; }
exec "$@"
"""
"""A script for ``/bin/sh``, which executes its arguments."""

_CONTAINER = r"""
fail() { code=$1; shift; echo "asyncflow: $*" >&2; exit "$code"; }
line='
'
IFS=$line
found=
for one in $runtimes; do command -v "$one" > /dev/null 2>&1 && found=$one && break; done
test "$found" ||
    fail 127 "no container runtime on $(uname -n) can run $image: install $missing," \
        "or put it on PATH"
test ! "$is_path" || test -e "$image" || fail 125 "there is no image $image on $(uname -n)"
kind=${found##*/}
here=$(pwd)
bind() { # once each, and not what has the root or a folder above it
    case $1 in *:*) ;; "$here"/* | / | '') return ;; esac
    case "$line$all$line" in *"$line$1$line"*) ;; *) all=${all:+$all$line}$1 ;; esac
}
all=
test "$here" = / || all=$here
if test "$folder"; then
    bind "$folder"
    for one in "$folder"/*; do # inputs that are links
        test ! -L "$one" || bind "$(readlink -f "$one")"
    done
fi
set -f
for one in $binds; do bind "$one"; done
# The variables that belong to the task, and not to the machine.
passed=
for one in $(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
    case " $names " in *" $one "*) passed=$passed$line$one && continue ;; esac
    case $one in
    NVIDIA_VISIBLE_DEVICES) ;; # of a container around this one
    ASYNCFLOW_* | *_VISIBLE_DEVICES | CUDA_DEVICE_ORDER | ZE_* | OMP_* | *_NUM_THREADS | SLURM_* | \
        PALS_* | PMI_* | PMIX_* | OMPI_* | MPI_* | HYDI_* | HYDRA_*) passed=$passed$line$one ;;
    esac
done
# What the runtime is given goes before the command, the last part first.  A container gets all
# GPUs of the node, because only then their numbers mean the same inside as outside.
nvidia= rocm= other=
if test "$gpus"; then
    test ! -e "$devices/nvidiactl" || nvidia=1
    test ! -e "$devices/kfd" || rocm=1
    test "$nvidia$rocm" || test ! -e "$devices/dri" || other=1
fi
case $kind in
apptainer | singularity)
    test "$form" != name || image=docker://$image
    set -- "$image" "$@"
    for one in $options; do set -- "$one" "$@"; done
    for one in $all; do set -- --bind "$one" "$@"; done
    test ! "$nvidia" || set -- --nv "$@"
    test ! "$rocm" || set -- --rocm "$@"
    prefix=APPTAINERENV
    test "$kind" = apptainer || prefix=SINGULARITYENV
    for one in $passed; do eval "export ${prefix}_$one=\"\$$one\""; done # also with --cleanenv
    exec "$found" exec --pwd "$here" "$@"
    ;;
ch-run)
    test ! "$is_path" || image=$(readlink -f "$image")
    set -- "$image" -- "$@"
    for one in $options; do set -- "$one" "$@"; done
    if test -e "$image/ch/environment"; then
        # What the image sets goes over what is outside, and the task's own over that.
        set -- '--unset-env=ASYNCFLOW_OWN_*' "$@"
        for one in $passed; do
            grep -q "^$one=" "$image/ch/environment" || continue
            eval "export ASYNCFLOW_OWN_$one=\"\$$one\""
            set -- "--set-env=$one=\$ASYNCFLOW_OWN_$one" "$@"
        done
        set -- --set-env "$@"
    fi
    overlay=
    case $("$found" --help 2>&1) in *--write-fake*) overlay=1 && set -- --write-fake "$@" ;; esac
    for one in $all; do
        place=${one##*:}
        case $place in /tmp/* | /dev/*) ;; *)
            # It cannot bind to a folder that the image does not have.
            test "$overlay" || test ! -d "$image" || test -e "$image$place" ||
                mkdir -p "$image$place" 2> /dev/null ||
                fail 125 "the image $image has no folder $place, and none can be made in it," \
                    "which this version of ch-run needs"
            ;;
        esac
        set -- --bind "$one" "$@"
    done
    USER=${USER:-$(id -un)}
    export USER
    exec "$found" --cd "$here" "$@"
    ;;
esac
# podman and docker: another process starts the command, so its end has to be asked for.
set -- "${image#docker://}" "$@"
for one in $options; do set -- "$one" "$@"; done
for one in $all; do
    case $one in *:*) ;; *) one=$one:$one ;; esac
    set -- --volume "$one" "$@"
done
for one in $passed; do set -- --env "$one" "$@"; done
if test "$kind" = docker; then
    test ! "$nvidia" || set -- --gpus all "$@"
    test ! "$rocm" || set -- --group-add "$(stat -c %g "$devices/kfd")" "$@"
    set -- --user "$(id -u):$(id -g)" "$@"
else
    test ! "$nvidia" || set -- --device nvidia.com/gpu=all "$@"
    test ! "$rocm" || set -- --group-add keep-groups "$@"
    test "$(id -u)" = 0 || set -- --userns keep-id "$@"
    set -- --security-opt label=disable "$@"
fi
test ! "$rocm" || set -- --device "$devices/kfd" "$@"
test ! "$rocm$other" || set -- --device "$devices/dri" "$@"
name=asyncflow-$$-$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')
exec 3<&0
"$found" run --rm --interactive --name "$name" --entrypoint '' --network host --ipc host \
    --workdir "$here" "$@" <&3 3<&- &
client=$!
trap '"$found" stop --time 2 "$name" > /dev/null 2>&1' TERM INT HUP
wait "$client"
code=$?
while kill -0 "$client" 2> /dev/null; do wait "$client"; code=$?; done
exit "$code"
"""
"""A script for ``/bin/sh``, behind the assignments of `_head`; its arguments are the command."""

_DEVICES = "/dev"
"""The folder in which a node has its GPUs."""

_PROGRAMS = {
    "apptainer": "Apptainer",
    "singularity": "Singularity",
    "podman": "Podman",
    "docker": "Docker",
    "ch-run": "Charliecloud (ch-run)",
}


def wrapped(command: Command, spec: TaskSpec, start: str | None, folder: Path | None) -> Command:
    """Return what is sent for *command*, in the shell and the container of *spec*.

    Args:
        start: the folder that the program was started in, from which the path of an image counts.
        folder: that of the task's declared files; None if it has none.
    """
    container = spec.container
    args = command.args
    if isinstance(args, str) and (spec.shell or container):
        # A shell would take a line that begins with a sign for an option.
        line = f" {args}" if args[0] in "-+" else args
        args = (*(spec.shell or ("/bin/sh",)), "-c", line)
        if not container:
            args = ("/bin/sh", "-c", _NO_SHELL, "asyncflow", *args)
    if container:
        script = _head(container, spec, command, start, folder) + _CONTAINER
        args = ("/bin/sh", "-c", script, "asyncflow", *args)
    return command if args is command.args else dataclasses.replace(command, args=args)


def _head(
    container: Container, spec: TaskSpec, command: Command, start: str | None, folder: Path | None
) -> str:
    """Return the assignments that tell the script what to do."""
    image = container.image
    if container.is_path:
        image = os.path.join(start or "", os.path.expanduser(image))  # noqa: PTH111, PTH118
    gpus = spec.resources.gpus > 0 if container.gpus is None else container.gpus
    values = {
        "image": os.path.normpath(image) if container.is_path else image,
        "form": container.form,
        "is_path": "1" if container.is_path else "",
        "runtimes": "\n".join(container.runtimes),
        "missing": _or(_PROGRAMS.get(one, one) for one in container.runtimes),
        "folder": "" if folder is None else str(folder.absolute()),
        "binds": "\n".join(container.binds),
        "options": "\n".join(reversed(container.options)),
        "gpus": "1" if gpus else "",
        "devices": _DEVICES,
        "names": " ".join(name for name, value in (command.env or {}).items() if value is not None),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _or(names: Iterable[str]) -> str:
    """Return *names* as a choice in words."""
    *before, last = names
    return f"{', '.join(before)} or {last}" if before else last
