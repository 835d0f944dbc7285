"""Look at an HDF5 file before reading it: refuse what is damaged, leads outside, or declares too much.

HDF5 follows external links and virtual datasets by itself, and allocates what a file declares, not
what it holds. A survey reads names, shapes and storage sizes only, and is made once a file.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from ssfr.components.errors import InputError, nearest

_DEFLATE_LIMIT = 1100
"""zlib cannot shrink by more than 1032:1; what claims more holds less than it declares."""
_SLACK_BYTES = 1 << 20

DAMAGE = (OSError, RuntimeError, KeyError, ValueError, TypeError)
"""What h5py raises on damaged files, as found by damaging files at random."""


class Declared(NamedTuple):
    """What a file declares of one member of a group.

    Attributes
    ----------
    shape, dtype
        Of the dataset.
    flaw
        Why it must not be read; empty when it may.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    flaw: str

    @property
    def row_bytes(self) -> int:
        """Bytes of one row (axis 0), unpacked."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the full dataset, unpacked."""
        return math.prod(self.shape) * self.dtype.itemsize


class Survey:
    """What one HDF5 file says of its header and of one group.

    Parameters
    ----------
    path
        The file.
    group
        The group's path in the file.
    header
        Attributes of ``Header``; empty where there is none.
    members
        The group's datasets; None when the file has no such group.
    """

    def __init__(
        self, path: Path, group: str, header: Mapping[str, Any], members: Mapping[str, Declared] | None
    ) -> None:
        self.path, self.group = path, group
        self._header, self._members = header, members

    @property
    def present(self) -> bool:
        """True when the file has the group."""
        return self._members is not None

    @property
    def empty(self) -> bool:
        """True when the group, which must be there, has no dataset.

        Raises
        ------
        InputError
            No such group.
        """
        return not self._known()

    def attribute(self, *names: str) -> NDArray[Any]:
        """Return the first of `names` that the header has, as a numeric array (scalars: shape ()).

        Raises
        ------
        InputError
            None of them is there, or it is not a number.
        """
        for name in names:
            if name in self._header:
                value = np.asarray(self._header[name])
                if value.dtype.kind not in "biuf" or not np.isfinite(value).all():
                    raise InputError(f"{self.path}: Header/{name} is {_one_line(value)}, expected a number")
                return value
        name = names[0]
        raise InputError(f"{self.path}: no attribute {name} in Header{_like(name, self._header)}")

    def has_attribute(self, name: str) -> bool:
        """Return whether the header has an attribute."""
        return name in self._header

    def count(self, *names: str) -> int:
        """Return a header attribute that counts something: one integer, not negative."""
        value = self.attribute(*names)
        if value.size != 1 or value.item() != int(value.item()) or value.item() < 0:
            raise InputError(f"{self.path}: Header/{names[0]} is {value}, expected a count")
        return int(value.item())

    def field(self, name: str) -> Declared:
        """Return what is declared of a dataset that is safe to read.

        Raises
        ------
        InputError
            The dataset is absent (the nearest name is given), or must not be read.
        """
        members = self._known()
        if name not in members:
            raise InputError(f"{self.path}: no field {name} in {self.group}{_like(name, members)}")
        declared = members[name]
        if declared.flaw:
            raise InputError(f"{self.path}: {self.group}/{name} {declared.flaw}; refused")
        return declared

    def _known(self) -> Mapping[str, Declared]:
        if self._members is None:
            raise InputError(f"{self.path}: no group {self.group}")
        return self._members


def survey(path: Path, group: str) -> Survey:
    """Return what a file declares of `group`, without reading any data.

    Raises
    ------
    InputError
        The file is absent, truncated, not HDF5, or the group lies in another file.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; get it again, or correct the location") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: not a regular file, expected HDF5")
    return _survey(path, group, status.st_size, status.st_mtime_ns)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn HDF5's complaint about a damaged file into one line that names the file."""
    try:
        yield
    except DAMAGE as error:
        raise InputError(
            f"{path}: truncated, damaged or not HDF5 ({_one_line(error)}); get the file again"
        ) from None


@lru_cache(maxsize=8192)
def _survey(path: Path, group: str, size: int, modified_ns: int) -> Survey:
    """Make the survey; size and time are part of the cache's key, so a changed file is looked at anew."""
    with readable(path), h5py.File(path, "r") as file:
        header = _local(file, "Header", path)
        attributes = dict(header.attrs.items()) if header is not None else {}
        place: Any = file
        for part in filter(None, group.split("/")):
            place = _local(place, part, path)
            if place is None:
                return Survey(path, group, attributes, None)
        if not isinstance(place, h5py.Group):
            raise InputError(f"{path}: {group} is not a group")
        members = {name: _declared(place, name) for name in place}
        return Survey(path, group, attributes, {name: found for name, found in members.items() if found})


def _local(place: h5py.Group, name: str, path: Path) -> Any:
    """Return a member that lies in this very file; None when there is none."""
    link = place.get(name, getlink=True)
    flaw = _link_flaw(link)
    if flaw:
        raise InputError(f"{path}: {name} {flaw}; refused")
    return None if link is None else place[name]


def _link_flaw(link: object) -> str:
    """Return why a link must not be followed: a soft link's path may run through an external link."""
    if isinstance(link, h5py.ExternalLink):
        return f"is an external link to {_one_line(link.filename)}"
    if isinstance(link, h5py.SoftLink):
        return f"is a soft link to {_one_line(link.path)}"
    return ""


def _declared(group: h5py.Group, name: str) -> Declared | None:
    nothing = np.dtype("u1")
    flaw = _link_flaw(group.get(name, getlink=True))
    if flaw:
        return Declared((), nothing, flaw)
    try:
        member = group[name]
    except DAMAGE as error:
        return Declared((), nothing, f"is damaged ({_one_line(error)})")
    if not isinstance(member, h5py.Dataset):
        return None
    shape, dtype = member.shape, member.dtype
    if shape is None or dtype.kind not in "biuf":
        return Declared((), nothing, f"holds {dtype}, expected an array of numbers")
    if member.is_virtual:
        flaw = "is a virtual dataset, which leads to other files"
    elif member.external:
        flaw = f"keeps its data in another file ({_one_line(member.external[0][0])})"
    else:
        nbytes = math.prod(shape) * dtype.itemsize
        packing = _DEFLATE_LIMIT if member.id.get_create_plist().get_nfilters() else 1
        stored = member.id.get_storage_size()
        if nbytes > packing * stored + _SLACK_BYTES:
            flaw = f"declares {nbytes / 1e9:.3g} GB, the file holds {stored / 1e9:.3g} GB of it"
    return Declared(shape, dtype, flaw)


def _like(name: str, known: Mapping[str, Any]) -> str:
    names = [other for other in known if isinstance(other, str) and other.isprintable()]
    return nearest(name, names) if names else " (it is empty)"


def _one_line(text: object) -> str:
    return "".join(c if c.isprintable() else " " for c in str(text))
