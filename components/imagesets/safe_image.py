"""Pictures that others made: read as 8-bit RGB, or refused before they can do harm.

In the ground because image catalogues and the client of the server read pictures by the same rules.
"""

from __future__ import annotations

import stat
import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ssfr.components.errors import InputError

FORMATS = ("PNG", "JPEG")

_BAD_MODES = {
    "P": "a palette image: save it as RGB",
    "1": "a one-bit image: save it as 8-bit grey or RGB",
    "CMYK": "a CMYK image: save it as RGB",
}
IDENTITY = "ssfr identity"
"""Keyword of the text in a PNG that says, as JSON, what the maps are that it was made of."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def inside(root: Path, name: str) -> Path:
    """Return the path of `name` in `root`.

    Raises
    ------
    InputError
        The name is absolute, climbs out of the folder, or is a link that leads out of it.
    """
    try:
        path = (root / name).resolve()
        is_inside = bool(name.strip()) and path.is_relative_to(root.resolve()) and path != root.resolve()
    except (ValueError, OSError, RuntimeError):
        is_inside = False
    if not is_inside:
        raise InputError(f"file name {name!r}: leads out of {root}; expected a file inside that folder")
    return path


def read_image(path: Path, pixels: int | None, max_pixels: int) -> np.ndarray:
    """Read a picture.

    Parameters
    ----------
    path
        PNG or JPEG. RGB is read as it is; the alpha channel of RGBA is dropped, as the thesis does
        (SEED 10); 8-bit grey is copied to three channels; everything else is refused.
    pixels
        A side, which the picture must have; None: any.
    max_pixels
        A picture that declares more in all is refused before it is unpacked.

    Returns
    -------
    (P, P, 3) uint8
        Red, green, blue; row 0 is the top of the picture.

    Raises
    ------
    InputError
        Not a picture, damaged, or not of the size and type expected.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: not a regular file; expected a {' or '.join(FORMATS)} image")
        if _png_bit_depth(path) == 16:
            raise InputError(
                f"{path}: 16 bits a channel; expected 8: rescale it, since PIL would cut it without a word"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                _check(path, image, pixels, max_pixels)
                array = np.asarray(image)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise InputError(f"{path}: not a {' or '.join(FORMATS)} image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(f"{path}: declares more than the {max_pixels} pixels allowed") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        # what PIL raises on damaged files
        raise InputError(f"{path}: damaged or truncated image ({' '.join(str(error).split())})") from None
    if array.dtype != np.uint8:
        raise InputError(f"{path}: {array.dtype} pixels; expected 8 bits a channel")
    if array.ndim == 2:
        array = array[..., np.newaxis]
    colours = array[..., :1] if array.shape[-1] < 3 else array[..., :3]
    result: np.ndarray = np.ascontiguousarray(np.broadcast_to(colours, (*array.shape[:2], 3)))
    return result


def stated_identity(path: Path) -> str | None:
    """Return what a picture that `read_image` accepts says it was made of; None: it says nothing."""
    with Image.open(path, formats=FORMATS) as image:
        image.load()  # text may follow the pixels
        return getattr(image, "text", {}).get(IDENTITY)


def _check(path: Path, image: Image.Image, pixels: int | None, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise InputError(f"{path}: declares {width} x {height} pixels, more than the {max_pixels} allowed")
    if pixels is not None and (width, height) != (pixels, pixels):
        raise InputError(f"{path}: {width} x {height} pixels; expected {pixels} x {pixels}")
    if image.mode in _BAD_MODES:
        raise InputError(f"{path}: {_BAD_MODES[image.mode]}")
    if image.mode not in ("RGB", "RGBA", "L", "LA"):
        raise InputError(f"{path}: mode {image.mode}; expected 8-bit RGB, RGBA or grey")
    if getattr(image, "n_frames", 1) > 1:
        raise InputError(f"{path}: an animation; expected one picture")


def _png_bit_depth(path: Path) -> int | None:
    """Return the bit depth that a PNG declares: PIL cuts 16-bit colours to 8 without a word."""
    with path.open("rb") as stream:
        head = stream.read(25)
    return head[24] if len(head) == 25 and head.startswith(_PNG_SIGNATURE) else None
