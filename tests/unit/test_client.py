"""What the client reads, splits and says before and without a server."""

import json
import socket
import time

import h5py
import numpy as np
import pytest
from exported_models import serving
from PIL import Image

from components.errors import InputError
from components.serving.client import Client
from components.serving.inputs import read_inputs
from components.serving.tensors import TensorSpec, from_proto, to_proto


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def write_maps(path, count=3, fields=("mass", "temperature"), pixels=8):
    with h5py.File(path, "w") as file:
        file["maps"] = np.random.default_rng(0).random((count, len(fields), pixels, pixels), np.float32)
        file["snapshot"] = np.full(count, 99)
        file["subhalo_id"] = np.arange(count)
        file.attrs.update(
            fields=json.dumps(fields),
            units=json.dumps(["Msun", "K"][: len(fields)]),
            pixels=pixels,
            method="histogram",
            weighting="sum",
        )
    return path


def test_no_server_is_said_in_one_line():
    address = f"127.0.0.1:{free_port()}"
    with Client(address, serving()) as client, pytest.raises(InputError, match="no server answers") as said:
        client.status()
    assert address in str(said.value)
    assert "\n" not in str(said.value)


def test_retries_end_with_the_deadline():
    started = time.monotonic()
    settings = serving(retries=100, deadline_s=2.0)
    with Client(f"127.0.0.1:{free_port()}", settings) as client, pytest.raises(InputError):
        client.status()
    assert 0.5 < time.monotonic() - started < 5.0


def test_a_server_that_never_answers_meets_the_deadline():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(address, serving(deadline_s=0.5)) as client, pytest.raises(InputError, match=r"0\.5 s"):
            client.status()


@pytest.mark.parametrize("address", ["localhost", "8500", "http://localhost:8500", "a b:1", "unix:/tmp/x"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="HOST:PORT"):
        Client(address, serving())


def test_a_version_and_a_label_contradict():
    with pytest.raises(InputError, match="give one"):
        Client("localhost:1", serving(), version=1, label="stable")


def test_a_galaxy_larger_than_a_message_is_refused():
    with (
        Client("localhost:1", serving(max_message_mb=0.1)) as client,
        pytest.raises(InputError, match="max_message_mb"),
    ):
        client.predict_maps(np.zeros((1, 3, 128, 128)))


def test_certificates_that_are_none_are_named(tmp_path):
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(InputError, match=r"tls_server_ca.*not a PEM"):
        Client("localhost:1", serving(tls_server_ca=str(tmp_path / "ca.pem")))
    with pytest.raises(InputError, match="No such file"):
        Client("localhost:1", serving(tls_server_ca=str(tmp_path / "absent.pem")))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64])
def test_numbers_survive_the_wire(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    proto = to_proto(array)
    spec = TensorSpec(_tf_dtype(proto), (None, 3, 4))
    np.testing.assert_array_equal(from_proto(proto, spec), array)


def test_bytes_survive_the_wire():
    array = np.array([b"", b"\x00\xff", b"png"], dtype=object)
    proto = to_proto(array)
    assert from_proto(proto, TensorSpec(_tf_dtype(proto), (None,))).tolist() == array.tolist()


def _tf_dtype(proto):
    import tensorflow as tf

    return tf.dtypes.as_dtype(proto.dtype)


def test_numbers_in_the_unpacked_form_are_understood_too():
    proto = to_proto(np.zeros((2, 2), np.float32))
    proto.ClearField("tensor_content")
    proto.float_val.extend([1, 2, 3, 4])
    assert from_proto(proto, TensorSpec(_tf_dtype(proto), (None, 2))).tolist() == [[1, 2], [3, 4]]


def test_a_shape_that_declares_more_than_there_is_allocates_nothing():
    proto = to_proto(np.zeros((2, 2), np.float32))
    proto.tensor_shape.dim[0].size = 1 << 40
    with pytest.raises(ValueError, match="bytes, got 16"):
        from_proto(proto, TensorSpec(_tf_dtype(proto), (None, 2)))


def test_negative_lengths_are_refused():
    proto = to_proto(np.zeros((2, 2), np.float32))
    proto.tensor_shape.dim[0].size = -1
    with pytest.raises(ValueError, match="shape"):
        from_proto(proto, TensorSpec(_tf_dtype(proto), (None, 2)))


def test_pictures_are_read_with_their_names(tmp_path):
    for name, mode in (("a.png", "RGB"), ("b.png", "RGBA")):
        Image.new(mode, (16, 16), "red").save(tmp_path / name)
    inputs = read_inputs([tmp_path / "a.png", tmp_path / "b.png"])
    assert inputs.names == ("a.png", "b.png")
    assert inputs.images.shape == (2, 16, 16, 3)
    assert inputs.images[1, 0, 0].tolist() == [255, 0, 0]


def test_maps_of_ours_are_read_with_galaxy_fields_and_units(tmp_path):
    inputs = read_inputs([write_maps(tmp_path / "maps-099-000.h5")])
    assert inputs.names == ("Snap99ID0", "Snap99ID1", "Snap99ID2")
    assert inputs.fields == ("mass", "temperature")
    assert inputs.units == ("Msun", "K")
    assert inputs.maps.shape == (3, 2, 8, 8)


def test_galaxies_are_picked_by_name(tmp_path):
    inputs = read_inputs([write_maps(tmp_path / "maps-099-000.h5")])
    picked = inputs.only(["Snap99ID2", "Snap99ID0"])
    assert picked.names == ("Snap99ID2", "Snap99ID0")
    np.testing.assert_array_equal(picked.maps, inputs.maps[[2, 0]])
    with pytest.raises(InputError, match=r"no galaxy 'Snap98ID2' \(did you mean 'Snap99ID2'"):
        inputs.only(["Snap98ID2"])


def test_arrays_are_read_as_one_galaxy_or_many(tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((2, 8, 8)))
    np.save(tmp_path / "two.npy", np.zeros((2, 2, 8, 8)))
    inputs = read_inputs([tmp_path / "one.npy", tmp_path / "two.npy"])
    assert inputs.names == ("one", "two[0]", "two[1]")
    assert inputs.maps.dtype == np.float32


def test_a_pickle_in_an_array_file_is_not_run(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"evil\.npy: not an array of numbers"):
        read_inputs([tmp_path / "evil.npy"])


def test_an_array_file_that_declares_more_than_it_holds_is_refused(tmp_path):
    np.save(tmp_path / "bomb.npy", np.zeros((1, 1, 8, 8), np.float32))
    data = (tmp_path / "bomb.npy").read_bytes().replace(b"(1, 1, 8, 8)", b"(9999999999, 1, 8, 8)")
    (tmp_path / "bomb.npy").write_bytes(data)
    with pytest.raises(InputError, match=r"bomb\.npy"):
        read_inputs([tmp_path / "bomb.npy"])


def test_maps_that_lie_in_another_file_are_refused(tmp_path):
    write_maps(tmp_path / "real.h5")
    with h5py.File(write_maps(tmp_path / "linked.h5"), "a") as file:
        del file["maps"]
        file["maps"] = h5py.ExternalLink(str(tmp_path / "real.h5"), "maps")
    with pytest.raises(InputError, match=r"linked\.h5.*external link"):
        read_inputs([tmp_path / "linked.h5"])


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("a.png", "large.png", r"large\.png: 32 px a side, but .*a\.png has 16"),
        ("a.png", "maps.npy", r"maps\.npy: not of the kind"),
        ("a.png", "wide.png", r"wide\.png: 32 x 16 pixels; expected a square"),
        ("a.png", "text.png", r"text\.png: not a PNG"),
        ("a.png", "cut.png", r"cut\.png: damaged"),
        ("a.png", "deep.png", r"deep\.png: 16 bits"),
        ("a.png", "absent.png", r"absent\.png: no such file"),
        ("a.png", "a.fits", r"a\.fits: expected one of"),
        ("maps.npy", "flat.npy", r"flat\.npy: shape \(8, 8\)"),
        ("maps.npy", "three.npy", r"three\.npy: 3 fields, but .*maps\.npy has 1"),
        ("maps.npy", "words.npy", r"words\.npy: <U5 values"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, first, second, said):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    Image.new("RGB", (32, 32)).save(tmp_path / "large.png")
    Image.new("RGB", (32, 16)).save(tmp_path / "wide.png")
    Image.new("I;16", (16, 16)).save(tmp_path / "deep.png")
    (tmp_path / "text.png").write_text("hello")
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:300])
    np.save(tmp_path / "maps.npy", np.zeros((1, 16, 16)))
    np.save(tmp_path / "three.npy", np.zeros((3, 16, 16)))
    np.save(tmp_path / "flat.npy", np.zeros((8, 8)))
    np.save(tmp_path / "words.npy", np.full((1, 16, 16), "words"))
    with pytest.raises(InputError, match=said):
        read_inputs([tmp_path / first, tmp_path / second])


def test_no_files_at_all(tmp_path):
    with pytest.raises(InputError, match="no files"):
        read_inputs([])
