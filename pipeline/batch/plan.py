"""What a batch has to do: its inputs, each with a name of its own for the results, the same in every run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.settings import SettingsError
from pipeline.sources import DEMO_CLIP, VIDEO_SUFFIXES, SourceError, images_in, without_password

RECORDS = ".darkstream"  # the folder in the output folder that holds what a later run needs to know


@dataclass(frozen=True)
class Job:
    """One input.

    spec: as `open_source` takes it. shown: the same without a password. origin: its absolute path, or `shown` where it
    is no file. name: of its results below the output folder, without suffix; "/" stands between folders.
    """

    spec: str
    shown: str
    origin: str
    name: str


def plan_jobs(inputs: Sequence[str], out: Path, suffixes: Sequence[str], owners: Mapping[str, str]) -> list[Job]:
    """The inputs in order, folders of videos opened up, and each input once.

    A file is named after itself, one below a given folder also after the folders in between. A name that another input
    has gets a number: walk, walk-2. owners: name -> origin, of earlier runs; an input keeps the name it had, and no
    other gets it while the input exists. The work grows with the number of inputs only.
    Raises SettingsError if a result would overwrite an input.
    """
    wanted: dict[str, tuple[str, str]] = {}
    for given in inputs:
        for spec, name in _inputs_below(given, out):
            wanted.setdefault(_origin(spec), (spec, name))
    names = _Names(owners, wanted)
    kept = {origin: names.kept(origin, name) for origin, (_, name) in wanted.items()}
    jobs = [
        Job(spec, without_password(spec), origin, kept[origin] or names.new(name))
        for origin, (spec, name) in wanted.items()
    ]
    folder = out.resolve()
    for job in jobs:
        for suffix in suffixes:
            if f"{folder}/{job.name}{suffix}" in wanted:
                result = result_path(out, job.name, suffix)
                raise SettingsError(f"{result}: the result would overwrite an input; choose another --out")
    return jobs


def result_path(folder: Path, name: str, suffix: str) -> Path:
    """Where a result lies below a folder."""
    return folder / (name + suffix)


def stamp(job: Job) -> list[int] | None:
    """What changes with the input's content: size in bytes and time of change in ns; for a folder of images their
    number, their sizes together and the latest change. None where that is not known.
    """
    path = Path(job.origin)
    try:
        if not path.is_dir():
            found = path.stat()
            return [found.st_size, found.st_mtime_ns]
        images = [image.stat() for image in images_in(path)]
    except (OSError, SourceError):
        return None
    return [
        len(images),
        sum(image.st_size for image in images),
        max((image.st_mtime_ns for image in images), default=0),
    ]


class _Names:
    """Gives each input a name that no other has."""

    def __init__(self, owners: Mapping[str, str], origins: Mapping[str, object]) -> None:
        self._owners, self._origins = owners, origins
        self._names = {origin: name for name, origin in owners.items()}
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def kept(self, origin: str, wanted: str) -> str | None:
        """The name of an earlier run, if it is `wanted` or numbered after it."""
        name = self._names.get(origin)
        if name is None or name in self._taken:
            return None
        base, _, number = name.rpartition("-")
        if name != wanted and not (base == wanted and number.isdecimal()):
            return None
        self._taken.add(name)
        return name

    def new(self, wanted: str) -> str:
        """The first free name."""
        name, number = wanted, self._last.get(wanted, 1)
        while name in self._taken or (number == 1 and wanted in self._last) or self._belongs_to_another(name):
            number += 1
            name = f"{wanted}-{number}"
        self._taken.add(name)
        self._last[wanted] = number
        return name

    def _belongs_to_another(self, name: str) -> bool:
        """Whether an input that is not in this run, but still exists, has results of this name."""
        owner = self._owners.get(name)
        return owner is not None and owner not in self._origins and os.path.exists(owner)


def _inputs_below(spec: str, out: Path) -> Iterator[tuple[str, str]]:
    """The videos below a folder, sorted, without earlier results in `out`; any other input as it is. With names."""
    folder = Path(spec)
    if not folder.is_dir():
        path = Path(spec).resolve() if "://" not in spec else Path(spec)
        yield spec, path.stem
        return
    results = out.resolve()
    hidden = str(results / RECORDS if folder.resolve() == results else results)
    videos: list[Path] = []
    unreadable: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=unreadable.append):
        folders[:] = [name for name in folders if os.path.realpath(f"{place}/{name}") != hidden]
        videos += [Path(place, name) for name in files if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    videos = sorted(path for path in videos if path.is_file())
    for path in videos:
        yield str(path), path.relative_to(folder).with_suffix("").as_posix()
    for error in unreadable:  # an input that fails, rather than one that nobody misses
        if str(error.filename) != spec:
            yield str(error.filename), Path(error.filename).relative_to(folder).as_posix()
    if not videos:
        yield spec, folder.resolve().name


def _origin(spec: str) -> str:
    if "://" in spec:
        return without_password(spec)
    return str(Path(DEMO_CLIP if spec == "demo" else spec).resolve())
