"""What the client reads, splits and says before and without a server."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import grpc
import h5py
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from exported_models import serving
from google.protobuf.any_pb2 import Any
from identities import label_identity, map_attribute, map_identity, picture_identity
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

import ssfr
from ssfr.components.errors import InputError
from ssfr.components.imagesets.safe_image import IDENTITY
from ssfr.components.projection.backends import Counts
from ssfr.components.projection.draw import GalaxyMaps
from ssfr.components.projection.field_of_view import FieldOfView
from ssfr.components.serving.client.client import ModelClient
from ssfr.components.serving.client.inputs import Accepted, read_inputs
from ssfr.components.simulation import Header
from ssfr.models import as_inputs

OUTPUTS = ("log10_ssfr", "ssfr", "lower", "upper")


def declaring(shape, dtype=tf.float32, **values):
    """A tensor as a stranger may send it."""
    proto = TensorProto(dtype=dtype.as_datatype_enum, **values)
    for length in shape:
        proto.tensor_shape.dim.add(size=length)
    return proto


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def write_maps(path, count=3, fields=("mass", "temperature"), pixels=8, **changed):
    with h5py.File(path, "w") as file:
        file["maps"] = np.random.default_rng(0).random((count, len(fields), pixels, pixels), np.float32)
        file["snapshot"] = np.full(count, 99)
        file["subhalo_id"] = np.arange(count)
        file["view"] = np.zeros(count, np.int64)
        file.attrs.update(map_attribute(map_identity(fields, pixels, **changed)))
    return path


def test_no_server_is_said_in_one_line():
    address = f"127.0.0.1:{free_port()}"
    with (
        ModelClient.of(serving(), address) as client,
        pytest.raises(InputError, match="no server answers") as said,
    ):
        client.status()
    assert address in str(said.value)
    assert "\n" not in str(said.value)


def test_retries_end_with_the_deadline():
    started = time.monotonic()
    settings = serving(retries=100, deadline_s=2.0)
    with ModelClient.of(settings, f"127.0.0.1:{free_port()}") as client, pytest.raises(InputError):
        client.status()
    assert 0.5 < time.monotonic() - started < 5.0


def test_a_server_that_never_answers_is_given_up_at_the_deadline():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with (
            ModelClient.of(serving(deadline_s=0.5), address) as client,
            pytest.raises(InputError, match=r"0\.5 s"),
        ):
            client.status()


@pytest.mark.parametrize(
    "address",
    ["localhost", "8500", "http://localhost:8500", "a b:1", "unix:/tmp/x", "localhost:99999", "localhost:0"],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="HOST:PORT"):
        ModelClient.of(serving(), address)


def test_a_version_and_a_label_contradict():
    with pytest.raises(InputError, match="give one"):
        ModelClient.of(serving(), "localhost:1", version=1, label="stable")


def test_a_galaxy_larger_than_a_message_is_refused():
    with (
        ModelClient.of(serving(max_message_mb=0.1), "localhost:1") as client,
        pytest.raises(InputError, match="max_message_mb"),
    ):
        client.predict_maps(np.zeros((1, 3, 128, 128)))


def test_certificates_that_are_none_are_named(tmp_path):
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(InputError, match=r"tls_server_ca.*not a PEM"):
        ModelClient.of(serving(tls_server_ca=str(tmp_path / "ca.pem")), "localhost:1")
    with pytest.raises(InputError, match="No such file"):
        ModelClient.of(serving(tls_server_ca=str(tmp_path / "absent.pem")), "localhost:1")


def test_a_certificate_of_the_client_is_never_dropped_for_plaintext(tmp_path):
    pair = {"tls_client_certificate": "cert.pem", "tls_client_key": "key.pem"}
    with pytest.raises(InputError, match="needs tls_server_ca"):
        ModelClient.of(serving(**pair), "localhost:1")


class Other(PredictionServiceServicer):
    """A server that is not ours, with an answer of its own."""

    def __init__(self, outputs):
        self.outputs = outputs

    def Predict(self, request, context):  # noqa: N802
        return PredictResponse(outputs=self.outputs)


def with_client(servicer, use=lambda client: client.predict_maps(np.zeros((2, 1, 4, 4)))):
    """What a client returns of a server."""
    server = grpc.server(ThreadPoolExecutor(1))
    add_PredictionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with ModelClient.of(serving(), f"127.0.0.1:{port}") as client:
            return use(client)
    finally:
        server.stop(None).wait()


def test_the_unpacked_answers_of_tf_serving_are_understood():
    values = {name: declaring((2,), float_val=[i, -i]) for i, name in enumerate(OUTPUTS)}
    answer = with_client(Other(values))
    found = (answer.predicted, answer.linear, answer.lower, answer.upper)
    assert (answer.label, [values.tolist() for values in found]) == (
        "log10_ssfr",
        [[i, -i] for i in range(4)],
    )


@pytest.mark.parametrize(
    ("upper", "said"),
    [
        (None, "no output 'upper', only log10_ssfr, lower, ssfr"),
        (declaring((1,), float_val=[1.0]), r"output 'upper': expected float32 \(2,\), got shape \(1,\)"),
        (declaring((2,)), "output 'upper': shape .* declares 2 values of float32, got 0"),
    ],
)
def test_an_answer_without_its_numbers_is_refused(upper, said):
    outputs = {name: declaring((2,), float_val=[1.0, 2.0]) for name in OUTPUTS} | {"upper": upper}
    with pytest.raises(InputError, match=said):
        with_client(Other({name: value for name, value in outputs.items() if value is not None}))


class Foreign(PredictionServiceServicer):
    """A server that refuses a call, and describes its tensors as ours never would."""

    def __init__(self, described):
        self.described = described

    def Predict(self, request, context):  # noqa: N802
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no\x1b[31m such\nsignature")

    def GetModelMetadata(self, request, context):  # noqa: N802
        response = GetModelMetadataResponse()
        response.metadata["signature_def"].CopyFrom(self.described)
        return response


def _any(value, type_url="type.googleapis.com/tensorflow.serving.SignatureDefMap"):
    return Any(type_url=type_url, value=value)


def _unknown_dtype():
    signatures = SignatureDefMap()
    signatures.signature_def["s"].inputs["x"].dtype = 99
    return _any(signatures.SerializeToString())


@pytest.mark.parametrize("described", [_any(b"\xff\xff"), _unknown_dtype()])
def test_a_foreign_servers_words_do_not_break_ours(described):
    with pytest.raises(InputError, match=r"no\\x1b\[31m such signature; sent") as refused:
        with_client(Foreign(described))
    assert str(refused.value).isprintable()
    with pytest.raises(InputError, match="description of its tensors can't be read"):
        with_client(Foreign(described), lambda client: client.metadata())


def test_a_server_of_pages_is_no_model_server(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        with (
            ModelClient.of(serving(retries=0), address) as client,
            pytest.raises(InputError) as refused,
        ):
            client.status()
        server.shutdown()
    assert "it is no model server" in str(refused.value)


LABEL = label_identity().model_dump(mode="json")


def accepted(takes="maps", identity=None):
    identity = identity or map_identity(("mass", "temperature"), 8)
    described = {"takes": [takes], "maps": identity.model_dump(mode="json"), "label": LABEL, "more": 1}
    return Accepted.model_validate_json(json.dumps(described))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"takes": "images"}, "maps; the model takes images"),
        ({"identity": map_identity(("mass", "temperature"), 16)}, "8 px a side; the model takes 16 px"),
        (
            {"identity": map_identity(("temperature", "mass"), 8)},
            r"other maps than those of the model: fields: \[mass, temperature\], not \[temp.*",
        ),
        (
            {"identity": map_identity(("mass", "temperature"), 8, width=90.0, gas_of="halo")},
            "other maps than those of the model: gas_of: subhalo, not halo; draw them as those",
        ),
    ],
)
def test_what_a_model_does_not_take_is_refused(tmp_path, change, said):
    inputs = read_inputs([write_maps(tmp_path / "maps-099-000.h5")])
    inputs.check(accepted())
    with pytest.raises(InputError, match=rf"maps-099-000\.h5: {said}"):
        inputs.check(accepted(**change))


def test_an_array_is_taken_if_it_has_the_shape_of_the_models_maps(tmp_path):
    np.save(tmp_path / "two.npy", np.zeros((2, 8, 8), np.float32))
    np.save(tmp_path / "three.npy", np.zeros((3, 8, 8), np.float32))
    inputs = read_inputs([tmp_path / "two.npy"])
    assert inputs.identity is None
    inputs.check(accepted())
    with pytest.raises(InputError, match=r"three\.npy: 3 fields; the model takes 2: mass, temperature"):
        read_inputs([tmp_path / "three.npy"]).check(accepted())


def test_what_does_not_say_how_it_was_drawn_is_taken_for_granted_by_a_model_of_maps_alone(tmp_path):
    np.save(tmp_path / "two.npy", np.zeros((2, 8, 8), np.float32))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    array, picture = read_inputs([tmp_path / "two.npy"]), read_inputs([tmp_path / "a.png"])
    catalogue = replace(picture, identity=picture_identity(8))
    of_maps, of_pictures = accepted(), accepted("images", picture_identity(8))
    assert "two.npy: an array does not say how it was drawn" in array.taken_for_granted(of_maps)
    for pictures in (picture, catalogue):
        assert "a.png: a picture does not say how it was drawn" in pictures.taken_for_granted(of_maps)
        assert pictures.taken_for_granted(of_pictures) == ""
    assert read_inputs([write_maps(tmp_path / "maps-099-000.h5")]).taken_for_granted(of_maps) == ""


def test_a_picture_that_says_what_maps_it_was_made_of_is_compared(tmp_path):
    says = PngInfo()
    says.add_text(IDENTITY, map_identity(("mass", "temperature"), 8).model_dump_json())
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=says)
    inputs = read_inputs([tmp_path / "a.png"])
    inputs.check(accepted("images"))
    assert "does not say what its channels were divided by" in inputs.taken_for_granted(accepted("images"))
    wide = map_identity(("mass", "temperature"), 8, width=45.0)
    with pytest.raises(InputError, match=r"a\.png: other maps than .* width: 90 kpc, not 45 kpc"):
        inputs.check(accepted("images", wide))
    inputs.check(accepted("images", picture_identity(8)))  # a model of pictures, whatever they show
    says = PngInfo()
    says.add_text(IDENTITY, "{")
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png", pnginfo=says)
    with pytest.raises(InputError, match=r"b\.png: invalid json.*; make the picture again"):
        read_inputs([tmp_path / "b.png"])


def described(**changed):
    identity = map_identity().model_dump(mode="json")
    return json.dumps({"takes": ["maps"], "maps": identity | changed, "label": LABEL})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "output 'json' of describe: Invalid JSON"),
        ("[" * 100_000, "output 'json' of describe: Invalid JSON"),
        ("[]", "output 'json' of describe: .*object"),
        ('{"takes": ["maps"]}', r"'json\.maps' of describe: Field required"),
        (described().replace('"label"', '"labels"'), r"'json\.label' of describe: Field required"),
        (described(pixels=-8), r"'json\.maps\.pixels' of describe"),
        (described(format=2), r"'json\.maps\.format' of describe"),
        (described().replace('["maps"]', "[]"), r"'json\.takes' of describe"),
        ("\udcff", "output 'json' of describe"),
    ],
)
def test_a_model_that_does_not_say_what_it_takes_is_refused(tmp_path, text, said):
    inputs = read_inputs([write_maps(tmp_path / "maps-099-000.h5")])
    value = tf.make_tensor_proto(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=said) as refused:
        with_client(Other({"json": value}), lambda client: client.predict(inputs))
    assert "\n" not in str(refused.value)
    assert "a model that ssfr deployed?" in str(refused.value)


@pytest.mark.parametrize(
    ("unit", "shown"), [("Gyr", "dex(Gyr)"), ("solar metallicity", "dex(solar metallicity)"), ("", "dex")]
)
def test_what_is_served_has_the_unit_of_the_models_label(unit, shown):
    identity = map_identity(("mass",), 4).model_dump(mode="json")
    label = label_identity(quantity="log10_z", linear_unit=unit).model_dump(mode="json")
    text = json.dumps({"takes": ["maps"], "maps": identity, "label": label})
    outputs = {name: tf.make_tensor_proto([0.5], tf.float32) for name in ("log10_z", "z", "lower", "upper")}
    server = Other({"json": tf.make_tensor_proto(text.encode()), **outputs})

    def predict(client):
        with ssfr.Client(client.address) as public:
            return public.predict(np.zeros((1, 1, 4, 4), np.float32))

    table = with_client(server, predict)
    assert [str(table[name].unit) for name in ("log10_z", "lower", "upper")] == [shown] * 3


def test_files_beside_maps_that_are_drawn_already_are_refused():
    header = Header(99, 0.7, 0.0, 1.0, omega_matter=0.3, omega_lambda=0.7, box_ckpc_h=35000.0)
    fov, counts = FieldOfView(90.0, 90.0, 4, 4.0), Counts(8, 0, 0)
    mass = np.ones((1, 4, 4), np.float32)
    arrays = GalaxyMaps(mass, ("mass",), ("Msun",), fov, np.eye(3), "gas", 8, counts, 0, 0.0)
    drawn = ssfr.Maps(arrays, header, 0, map_identity(("mass",), 4))
    assert as_inputs([drawn, drawn]).names == ("Snap99ID0", "Snap99ID0")
    with pytest.raises(InputError, match=r"^other\.h5: a file beside maps that are drawn already"):
        as_inputs([drawn, "other.h5"])


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
    assert inputs.identity == map_identity(("mass", "temperature"), 8)
    assert inputs.maps.shape == (3, 2, 8, 8)


def test_galaxies_are_picked_by_name(tmp_path):
    files = [write_maps(tmp_path / "maps-099-000.h5")]
    everything, picked = read_inputs(files), read_inputs(files, ["Snap99ID2", "Snap99ID0"])
    assert picked.names == ("Snap99ID2", "Snap99ID0")
    np.testing.assert_array_equal(picked.maps, everything.maps[[2, 0]])
    (tmp_path / "maps-099-001.h5").write_bytes(files[0].read_bytes())
    files.append(tmp_path / "maps-099-001.h5")
    with h5py.File(files[1], "a") as file:
        file["subhalo_id"][...] = [3, 4, 5]
    assert read_inputs(files, ["Snap99ID4"]).names == ("Snap99ID4",)
    with pytest.raises(InputError, match=r"no galaxy 'Snap98ID2' \(did you mean 'Snap99ID2'"):
        read_inputs(files, ["Snap98ID2"])


def test_the_maps_of_other_galaxies_are_not_read(tmp_path):
    path = write_maps(tmp_path / "maps-099-000.h5", count=3)
    with h5py.File(path, "a") as file:
        whole = file["maps"][()]
        del file["maps"]
        maps = file.create_dataset("maps", data=whole, chunks=(1, 2, 8, 8), compression="gzip")
        broken = maps.id.get_chunk_info(1)
    data = bytearray(path.read_bytes())
    data[broken.byte_offset : broken.byte_offset + broken.size] = bytes(broken.size)
    path.write_bytes(data)
    np.testing.assert_array_equal(read_inputs([path], ["Snap99ID2"]).maps, whole[2:])
    with pytest.raises(InputError, match=r"maps-099-000\.h5"):
        read_inputs([path])


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


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(1, 1, 8, 8)", b"(1, 1, 8, 8 "),
        (b"(1, 1, 8, 8)", b"(99999999999999999999, 1, 8, 8)"),
        (b"(1, 1, 8, 8)", b"(1, 1, 8, '8')"),
        (b"'shape'", b"b'shap'"),
        (b"NUMPY", b"NUMPI"),
    ],
)
def test_a_damaged_header_of_an_array_file_is_named(tmp_path, old, new):
    np.save(tmp_path / "bad.npy", np.zeros((1, 1, 8, 8), np.float32))
    (tmp_path / "bad.npy").write_bytes((tmp_path / "bad.npy").read_bytes().replace(old, new))
    with pytest.raises(InputError, match=r"bad\.npy: not an array of numbers"):
        read_inputs([tmp_path / "bad.npy"])


def test_an_archive_in_an_array_file_is_not_opened(tmp_path):
    with (tmp_path / "many.npy").open("wb") as stream:
        np.savez(stream, maps=np.zeros((1, 8, 8)))
    with pytest.raises(InputError, match=r"many\.npy: not an array of numbers"):
        read_inputs([tmp_path / "many.npy"])


def write_pictures(path, files):
    with h5py.File(path, "w") as file:
        file["maps"] = np.zeros((len(files), 3, 8, 8), np.uint8)
        file["snapshot"] = np.zeros(len(files), np.int64)
        file["subhalo_id"] = np.arange(len(files))[::-1]
        file["view"] = np.zeros(len(files), np.int64)
        file.attrs.update(map_attribute(picture_identity(8)))
    table = {"snapshot": np.zeros(len(files), int), "subhalo_id": np.arange(len(files)), "file": files}
    pd.DataFrame(table).to_parquet(path.parent / "sample.parquet")
    return path


def test_galaxies_of_an_image_catalogue_are_named_by_their_files(tmp_path):
    path = write_pictures(tmp_path / "maps-images-000.h5", ["a/m31.png", "m33.png"])
    assert read_inputs([path]).names == ("m33", "a/m31")
    write_pictures(path, ["m31.png", "m31.jpg"])
    assert read_inputs([path]).names == ("m31.jpg", "m31.png")
    pd.DataFrame({"snapshot": [0], "subhalo_id": [0], "file": ["m31.png"]}).to_parquet(
        tmp_path / "sample.parquet"
    )
    with pytest.raises(InputError, match=r"sample\.parquet: not the catalogue of maps-images-000\.h5"):
        read_inputs([path])
    (tmp_path / "sample.parquet").unlink()
    assert read_inputs([path]).names == ("maps-images-000[0]", "maps-images-000[1]")


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
