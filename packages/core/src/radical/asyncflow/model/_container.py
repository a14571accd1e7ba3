"""Containers in which commands run: the image, and which runtimes can run it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._public import public
from .._text import closest
from ..errors import ConfigurationError

__all__ = ["Container", "ImageForm"]


class ImageForm:
    """The forms of images, by how they are written."""

    SIF = "sif"
    SQUASHFS = "squashfs"
    FOLDER = "folder"  # or any other file: a path
    DOCKER_URL = "docker"
    URL = "url"
    NAME = "name"


_APPTAINER = ("apptainer", "singularity")
_RUNTIMES: Mapping[str, tuple[str, ...]] = {
    ImageForm.SIF: _APPTAINER,
    ImageForm.SQUASHFS: ("ch-run", *_APPTAINER),
    ImageForm.FOLDER: ("ch-run", *_APPTAINER),
    ImageForm.DOCKER_URL: (*_APPTAINER, "podman", "docker"),
    ImageForm.URL: _APPTAINER,
    ImageForm.NAME: ("podman", "docker", *_APPTAINER),
}
"""The runtimes that can run an image of each form, the preferred one first."""

_KNOWN = ("apptainer", "singularity", "podman", "docker", "ch-run")
_PATH = re.compile(r"/|\.\.?/|~/")
_SQUASHFS = (".sqfs", ".squashfs", ".sqsh")
_FIELDS = ("image", "runtime", "binds", "options", "gpus")


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True)
class Container:
    """A container for the command of a task: ``executable_task(container=Container(...))``.

    Attributes:
        image: the image: a ``.sif`` or ``.sqfs`` file, a folder (a path that begins with ``/``,
            ``./``, ``../`` or ``~/``), a name such as ``python:3.12``, or a URL such as
            ``docker://python:3.12``.  A relative path counts from the folder that the program
            was started in.
        runtime: the program that runs it, by its name or path: ``apptainer``, ``singularity``,
            ``podman``, ``docker`` or ``ch-run``.  None: the first one that can, and that is on
            PATH where the task runs.
        binds: further folders and files that the command sees: ``"SOURCE"`` or
            ``"SOURCE:PLACE"``.
        options: further options of the runtime, such as ``"--no-home"``.
        gpus: True to give the container the GPUs of the node, False not to.  None: if the task
            asks for GPUs.
    """

    image: str
    runtime: str | None = None
    binds: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    gpus: bool | None = None

    def __post_init__(self) -> None:
        image = self.image
        if not isinstance(image, str):
            convert = getattr(type(image), "__fspath__", None)
            image = convert(image) if convert is not None else image
            # A path object has no "./" before it, and is a path all the same.
            if isinstance(image, str) and not _PATH.match(image):
                image = f"./{image}"
            object.__setattr__(self, "image", image)
        if not isinstance(image, str) or not image.strip():
            raise ConfigurationError(
                f"container: the image must be a path, a name or a URL, not {image!r}"
            )
        for name in ("binds", "options"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        for bind in self.binds:
            if not bind.partition(":")[0]:
                raise ConfigurationError(f"container: binds has no source in {bind!r}")
        if self.gpus is not None and not isinstance(self.gpus, bool):
            raise ConfigurationError(
                f"container: gpus must be True, False or None, not {self.gpus!r}"
            )
        if any(mark in text for text in (image, *self.binds, *self.options) for mark in "\0\n"):
            raise ConfigurationError(
                "container: the image, binds and options cannot hold a NUL or a line break"
            )
        self._check_runtime()

    def _check_runtime(self) -> None:
        if self.runtime is None:
            return
        if not isinstance(self.runtime, str):
            raise ConfigurationError(f"container: runtime must be a name, not {self.runtime!r}")
        name = self.runtime.rpartition("/")[2]
        if name not in _KNOWN:
            raise ConfigurationError(
                f"container: unknown runtime {self.runtime!r}{closest(name, _KNOWN)} "
                f"(known: {', '.join(_KNOWN)})"
            )
        able = _RUNTIMES[self.form]
        if name not in able and (name, self.form) != ("ch-run", ImageForm.NAME):
            raise ConfigurationError(
                f"container: {name} cannot run the image {self.image!r}; {' or '.join(able)} can"
            )

    @property
    def form(self) -> str:
        """The form of the image, as it is written, one of those of `ImageForm`."""
        scheme, found, _ = self.image.partition("://")
        if found:
            return ImageForm.DOCKER_URL if scheme == "docker" else ImageForm.URL
        if self.image.endswith(".sif"):
            return ImageForm.SIF
        if self.image.endswith(_SQUASHFS):
            return ImageForm.SQUASHFS
        return ImageForm.FOLDER if _PATH.match(self.image) else ImageForm.NAME

    @property
    def is_path(self) -> bool:
        """True if the image is a file or a folder."""
        return self.form in (ImageForm.SIF, ImageForm.SQUASHFS, ImageForm.FOLDER)

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The runtimes to look for, the preferred one first."""
        return _RUNTIMES[self.form] if self.runtime is None else (self.runtime,)

    @classmethod
    def of(cls, value: Any) -> Container:
        """Return *value*, an image or a table of the attributes, as a Container.

        Raises:
            ConfigurationError: it is none.
        """
        if isinstance(value, Container):
            return value
        if not isinstance(value, Mapping):
            return cls(value)
        if unknown := [key for key in value if key not in _FIELDS]:
            raise ConfigurationError(
                f"container: unknown key {unknown[0]!r}{closest(str(unknown[0]), _FIELDS)} "
                f"(known: {', '.join(_FIELDS)})"
            )
        if "image" not in value:
            raise ConfigurationError("container: the image is missing")
        return cls(**value)


def _texts(name: str, given: object) -> tuple[str, ...]:
    """Return the value of *name*, a list of strings or paths, as a tuple of strings."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise ConfigurationError(f"container: {name} must be a list of strings, not {given!r}")
    texts = []
    for item in given:
        convert = getattr(type(item), "__fspath__", None)
        text = item if convert is None else convert(item)
        if not isinstance(text, str) or not text:
            raise ConfigurationError(f"container: {name} must be a list of strings, not {given!r}")
        texts.append(text)
    return tuple(texts)
