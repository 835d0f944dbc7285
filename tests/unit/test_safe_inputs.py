"""Pictures, file names and pickles that others made: read, or refused before they do harm."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssfr.components.errors import InputError
from ssfr.components.imagesets.safe_image import inside, read_image
from ssfr.components.preprocessing.safe_pickle import load_arrays

LIMIT = 4096 * 4096


def colours(side: int = 32, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, channels), dtype=np.uint8)


def png(width: int, height: int, depth: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_rgb_is_read_as_it_is(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 32, LIMIT), colours())


def test_the_alpha_channel_is_dropped(tmp_path: Path) -> None:
    Image.fromarray(colours(channels=4)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 32, LIMIT), colours(channels=4)[..., :3])


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_is_copied_to_three_channels(tmp_path: Path, mode: str) -> None:
    grey = Image.fromarray(colours()).convert("L")
    grey.convert(mode).save(tmp_path / "a.png")
    picture = read_image(tmp_path / "a.png", 32, LIMIT)
    np.testing.assert_array_equal(picture, np.repeat(np.asarray(grey)[..., None], 3, axis=-1))


def test_jpeg_is_read(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg", 32, LIMIT).shape == (32, 32, 3)


def save_grey16(path: Path) -> None:
    Image.fromarray(np.full((32, 32), 40_000, np.uint16)).save(path)


def save_rgb16(path: Path) -> None:
    path.write_bytes(png(32, 32, depth=16, data=32 * (b"\0" + b"\1\2" * 96)))


def save_animation(path: Path) -> None:
    frames = [Image.fromarray(colours()), Image.fromarray(255 - colours())]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def save_truncated(path: Path) -> None:
    Image.fromarray(colours()).save(path)
    path.write_bytes(path.read_bytes()[:-900])


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda path: path.write_text("not an image"), "not a PNG or JPEG image"),
        (lambda path: path.write_bytes(b""), "not a PNG or JPEG image"),
        (lambda path: Image.fromarray(colours()).save(path, format="TIFF"), "not a PNG or JPEG image"),
        (lambda path: Image.fromarray(colours(31)).save(path), "31 x 31 pixels; expected 32 x 32"),
        (lambda path: Image.fromarray(colours()[:, :16]).save(path), "16 x 32 pixels; expected 32 x 32"),
        (lambda path: Image.fromarray(colours()).convert("P").save(path), "a palette image"),
        (lambda path: Image.fromarray(colours()).convert("1").save(path), "a one-bit image"),
        (lambda path: Image.fromarray(colours()).convert("CMYK").save(path, format="JPEG"), "a CMYK image"),
        (save_grey16, "16 bits a channel; expected 8"),
        (save_rgb16, "16 bits a channel; expected 8"),
        (save_animation, "an animation; expected one picture"),
        (save_truncated, "damaged or truncated image"),
        (lambda path: None, "no such file"),
        (os.mkfifo, "not a regular file"),
        (Path.mkdir, "not a regular file"),
    ],
)
def test_a_picture_that_cannot_be_used_is_refused_in_one_line(
    tmp_path: Path, save: Callable[[Path], Any], message: str
) -> None:
    path = tmp_path / "a.png"
    save(path)
    with pytest.raises(InputError, match=f"a.png: .*{message}") as refusal:
        read_image(path, 32, LIMIT)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("side", [5_000, 30_000, 2**31 - 1])
def test_a_picture_that_declares_too_much_is_refused_before_it_is_unpacked(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, data=b"\0" * 1_000_000))
    with warnings.catch_warnings(record=True) as shown, pytest.raises(InputError, match=r"bomb\.png"):
        read_image(path, None, LIMIT)
    assert not shown


def test_a_picture_with_more_data_than_it_declares_is_read_to_its_size_only(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(32, 32, data=b"\0" * 50_000_000))
    assert read_image(path, 32, LIMIT).shape == (32, 32, 3)


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "", "  ", ".", "x/../../a.png", "a\0.png"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="leads out of"):
        inside(tmp_path / "images", name)


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "images" / "a.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match="leads out of"):
        inside(tmp_path / "images", "a.png")


def test_a_name_in_the_folder_or_below_is_accepted(tmp_path: Path) -> None:
    assert inside(tmp_path, "sub/a.png") == tmp_path.resolve() / "sub" / "a.png"


def dumped(path: Path, thing: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(thing, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_lists_of_arrays_are_read_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    arrays = [np.array([1.5, 0.0, 2e-11]), np.array([], np.float32), np.arange(4)[::2]]
    loaded = load_arrays(dumped(tmp_path / "a.pkl", arrays, protocol))
    assert [part.tolist() for part in loaded] == [part.tolist() for part in arrays]


@pytest.mark.parametrize("type_name", [">f8", "<f4", ">i4", "u2", "i8"])
def test_every_number_type_and_byte_order_is_read(tmp_path: Path, type_name: str) -> None:
    values = np.array([1, 2, 3], type_name)
    assert load_arrays(dumped(tmp_path / "a.pkl", [values]))[0].tolist() == [1, 2, 3]


def test_plain_lists_and_numpy_scalars_are_read(tmp_path: Path) -> None:
    loaded = load_arrays(dumped(tmp_path / "a.pkl", [[1, 2], [np.float64(0.5), 3.0], []]))
    assert [part.tolist() for part in loaded] == [[1, 2], [0.5, 3.0], []]


def test_pickles_of_python_2_are_read(tmp_path: Path) -> None:
    # pickle.dumps([numpy.array([1.0, 2.0])], 2) of Python 2.7 with numpy 1.16
    path = tmp_path / "a.pkl"
    path.write_bytes(
        b"\x80\x02]q\x00cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b"
        b"\x87Rq\x03(K\x01K\x02\x85cnumpy\ndtype\nq\x04U\x02f8K\x00K\x01\x87Rq\x05(K\x03U\x01<NNNJ\xff\xff\xff"
        b"\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10\x00\x00\x00\x00\x00\x00\xf0?\x00\x00\x00\x00\x00\x00\x00@tba."
    )
    assert load_arrays(path)[0].tolist() == [1.0, 2.0]


class Runs:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("function", [os.system, eval, subprocess.check_output, __import__, open, getattr])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, function: Any, protocol: int) -> None:
    victim = tmp_path / "victim"
    path = dumped(tmp_path / "a.pkl", [Runs(function, f"touch {victim}")], protocol)
    with pytest.raises(InputError, match="refused, since loading it would use"):
        load_arrays(path)
    assert not victim.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"(S'touch x'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch x'\no.",  # OBJ
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02P1\n.",  # PERSID
        b"\x80\x02cnumpy\ndtype.__class__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x16ndarray.__subclasses__\x93.",  # dotted name
        b"\x80\x02cnumpy.testing\nrundocs\n.",
        b"\x80\x02cnumpy.f2py\ncompile\n.",
        b"\x80\x02cbuiltins\ngetattr\n.",
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a memo of 16 GB
    ],
)
def test_tricks_of_the_pickle_language_are_refused(tmp_path: Path, program: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(program)
    with pytest.raises(InputError, match="refused, since loading it would use"):
        load_arrays(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"?",
        b"\x80\x04]\x94(",
        b"\x80\x02cnumpy\ndtype\n(K\x03X\x01\x00\x00\x00<tb.",  # state on a class
        b"\x80\x02cnumpy\ndtype\nN}X\x07\x00\x00\x00resolveK\x01s\x86b.",  # attributes on a class
        b"\x80\x02c_codecs\nencode\nN}X\x0c\x00\x00\x00__defaults__Ns\x86b.",  # attributes on a function
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.",
        b"\x80\x02]cnumpy\nndarray\nK\x01\x85Ra.",  # a call of what is no function
        b"\x80\x02]ccopyreg\n",
    ],
)
def test_damaged_or_misused_pickles_are_one_clear_line(tmp_path: Path, program: bytes) -> None:
    (tmp_path / "a.pkl").write_bytes(program)
    with pytest.raises(InputError, match="not a complete pickle of number arrays"):
        load_arrays(tmp_path / "a.pkl")


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        ([np.array([1, "a", None], dtype=object)], "expected numbers"),
        ([np.array(["abc"])], "expected numbers"),
        ([np.zeros((2, 2))], "array of shape"),
        ({"a": 1}, "expected a list with one array a snapshot"),
        ([1.0], "entry 0 is not an array of numbers"),
        ([["a"]], "entry 0 holds something that is not a number"),
        ([np.zeros(3, dtype=[("a", "f8")])], "expected numbers"),
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, thing: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_arrays(dumped(tmp_path / "a.pkl", thing))


def test_a_list_that_is_named_again_and_again_is_refused(tmp_path: Path) -> None:
    """Each takes two bytes in the file, and could take any number of megabytes in memory."""
    path = dumped(tmp_path / "a.pkl", [[0.5] * 10_000] * 1_000)
    with pytest.raises(InputError, match="one list many times"):
        load_arrays(path)


def test_numpy_reserves_nothing_for_an_array_without_data(tmp_path: Path) -> None:
    program = (
        b"\x80\x02]cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(\x8a\x05\0\0\0\0\1tU\x01d\x87Ra."
    )
    (tmp_path / "a.pkl").write_bytes(program)
    with pytest.raises(InputError, match="entry 0 is not an array of numbers"):
        load_arrays(tmp_path / "a.pkl")


def test_numbers_can_not_be_made_pointers_to_objects(tmp_path: Path) -> None:
    """The state of a numpy dtype has flags; numpy would believe that these floats are references."""
    data = pickle.dumps([np.array([1.0, 2.0])], protocol=2)
    path = tmp_path / "a.pkl"
    assert data.count(b"K\x00tq") == 1
    path.write_bytes(data.replace(b"K\x00tq", b"K\x01tq"))
    assert [array.tolist() for array in load_arrays(path)] == [[1.0, 2.0]]
    assert not load_arrays(path)[0].dtype.hasobject


def test_an_array_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps([np.arange(3.0)], protocol=2)
    path = tmp_path / "a.pkl"
    path.write_bytes(data.replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85", 1))
    with pytest.raises(InputError, match="array of shape"):
        load_arrays(path)
