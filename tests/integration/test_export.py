"""The exported SavedModel: what it takes, that it predicts as the model does, and what lies beside it."""

import io
import json
import os
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from exported_models import PIXELS, image_spec, map_spec, random_maps, random_pictures, write_random_model
from identities import label_identity, map_identity
from PIL import Image
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from ssfr.components.deployment.export import Example, decode_png, encode_png, export, model_digest
from ssfr.components.errors import InputError
from ssfr.components.imagesets.transform import composite, eight_bits
from ssfr.components.models.predictor import Predictor
from ssfr.components.serving.protocol.wire_pb2 import PredictRequest
from ssfr.components.serving.repository.folder import verify_version
from ssfr.components.serving.server.servable import Servable

KINDS = {"maps": map_spec(), "eight_bit": map_spec(eight_bit=True), "images": image_spec()}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Kind -> model folder, version folder, predictor, and the version loaded."""
    root = tmp_path_factory.mktemp("exported")
    found = {}
    for kind, spec in KINDS.items():
        model_dir = write_random_model(root / f"model-{kind}", spec)
        raw = random_pictures(2).transpose(0, 3, 1, 2) if kind == "images" else random_maps(2)
        (root / kind).mkdir()
        export(model_dir, root / kind / "1", kind, Example.of(raw, spec))
        servable = Servable.load(root / kind / "1", kind, 1)
        found[kind] = (model_dir, root / kind / "1", Predictor.load(model_dir), servable)
    return found


def test_each_kind_of_model_exports_what_its_input_allows(exported):
    assert {kind: list(servable.signatures) for kind, (*_, servable) in exported.items()} == {
        "maps": ["describe", "predict_maps", "serving_default"],
        "eight_bit": ["describe", "predict_maps", "predict_png", "serving_default"],
        "images": ["describe", "predict_png", "serving_default"],
    }
    inputs = {
        kind: {key: str(spec) for key, spec in servable.signature("").inputs.items()}
        for kind, (*_, servable) in exported.items()
    }
    pictures = {"images": f"uint8 (n, {PIXELS}, {PIXELS}, 3)"}
    assert inputs == {
        "maps": {"maps": f"float32 (n, 3, {PIXELS}, {PIXELS})"},
        "eight_bit": pictures,
        "images": pictures,
    }


@pytest.mark.parametrize("kind", ["maps", "eight_bit"])
def test_maps_predict_as_offline(exported, kind):
    *_, predictor, servable = exported[kind]
    maps = random_maps(5, seed=7)
    served = servable.signature("predict_maps")({"maps": maps})
    offline = predictor.predict_maps(maps)
    expected = {"log10_ssfr": offline.predicted, "lower": offline.lower, "upper": offline.upper}
    for name, values in expected.items():
        assert served[name].dtype == np.float32
        np.testing.assert_allclose(served[name], values, atol=1e-5)
    np.testing.assert_allclose(served["ssfr"], 10.0 ** served["log10_ssfr"].astype(float), rtol=1e-5)
    assert np.all(served["lower"] < served["log10_ssfr"])
    assert np.all(served["log10_ssfr"] < served["upper"])


@pytest.mark.parametrize("kind", ["eight_bit", "images"])
def test_pictures_and_their_png_files_predict_as_offline(exported, kind):
    *_, predictor, servable = exported[kind]
    pictures = random_pictures(5, seed=7)
    offline = predictor.predict_images(pictures).predicted
    files = np.array([encode_png(picture) for picture in pictures], dtype=object)
    np.testing.assert_allclose(servable.signature("")({"images": pictures})["log10_ssfr"], offline, atol=1e-5)
    np.testing.assert_allclose(
        servable.signature("predict_png")({"png": files})["log10_ssfr"], offline, atol=1e-5
    )


def test_the_png_of_a_galaxy_predicts_what_its_maps_do(exported):
    *_, predictor, servable = exported["eight_bit"]
    maps = random_maps(3, seed=9)
    pictures = eight_bits(np, composite(np, maps, predictor.spec)).astype(np.uint8)
    files = np.array([encode_png(picture) for picture in pictures], dtype=object)
    from_maps = servable.signature("predict_maps")({"maps": maps})["log10_ssfr"]
    from_png = servable.signature("predict_png")({"png": files})["log10_ssfr"]
    np.testing.assert_allclose(from_png, from_maps, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_answers_empty(exported, kind):
    *_, servable = exported[kind]
    empty = {
        "maps": random_maps(0),
        "images": random_pictures(0),
        "png": np.empty(0, dtype=object),
    }
    for name, signature in servable.signatures.items():
        if name != "describe":
            answer = signature({key: empty[key] for key in signature.inputs})
            assert {key: value.shape for key, value in answer.items()} == dict.fromkeys(answer, (0,))


def png_of(mode):
    picture = random_pictures(1)[0]
    stream = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(stream, "PNG")
    return stream.getvalue()


def test_an_alpha_channel_is_dropped_and_grey_is_copied():
    decoded = decode_png(tf.constant([png_of("RGB"), png_of("RGBA"), png_of("L")]), PIXELS).numpy()
    picture = random_pictures(1)[0]
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    np.testing.assert_array_equal(decoded[0], picture)
    np.testing.assert_array_equal(decoded[1], picture)
    np.testing.assert_array_equal(decoded[2], np.repeat(grey[..., None], 3, axis=-1))


def sixteen_bit_rgb():
    rows = b"".join(b"\0" + bytes(6 * PIXELS) for _ in range(PIXELS))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", PIXELS, PIXELS, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def bomb():
    """A PNG whose header declares 60000 x 60000 pixels."""
    data = bytearray(png_of("RGB"))
    data[16:24] = struct.pack(">II", 60000, 60000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def jpeg():
    stream = io.BytesIO()
    Image.fromarray(random_pictures(1)[0]).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"", "not a PNG"),
        (b"not a picture", "not a PNG"),
        (jpeg(), "not a PNG"),
        (bomb(), "not 32 x 32 pixels"),
        (encode_png(random_pictures(1, pixels=16)[0]), "not 32 x 32 pixels"),
        (sixteen_bit_rgb(), "not 8 bits a channel"),
        (png_of("P"), "a palette image"),
        (png_of("1"), "not 8 bits a channel"),
        (png_of("RGB")[:500], "Invalid PNG data"),
    ],
    ids=["empty", "text", "jpeg", "bomb", "size", "16-bit", "palette", "1-bit", "cut"],
)
def test_a_bad_png_is_an_invalid_argument(exported, bad, said):
    *_, servable = exported["images"]
    files = np.array([png_of("RGB"), bad], dtype=object)
    with pytest.raises(tf.errors.InvalidArgumentError, match=said) as error:
        servable.signature("predict_png")({"png": files})
    if "PNG data" not in said:
        assert "png [1]" in error.value.message


def test_the_warm_up_file_holds_a_request_for_each_signature(exported):
    _, folder, _, servable = exported["eight_bit"]
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    records = [PredictionLog.FromString(r) for r in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    requests = [record.predict_log.request for record in records]
    asked = {r.model_spec.signature_name: sorted(r.inputs) for r in requests}
    assert asked == {"predict_maps": ["maps"], "predict_png": ["png"], "serving_default": ["images"]}
    assert {r.model_spec.name for r in requests} == {"eight_bit"}
    for request in requests:
        servable.predict(PredictRequest.FromString(request.SerializeToString()), max_batch=8)


def test_the_description_says_what_the_model_takes(exported):
    model_dir, folder, _, servable = exported["maps"]
    written = json.loads((folder / "assets.extra" / "ssfr.json").read_text())
    assert written["maps"] == map_identity(pixels=PIXELS).model_dump(mode="json")
    assert written["label"] == label_identity().model_dump(mode="json")
    assert written["takes"] == ["maps"]
    assert written["one_thread"] is True
    assert written["model_digest"] == model_digest(model_dir)
    assert set(written["known_answers"]) == {"predict_maps", "serving_default"}
    served = json.loads(servable.signature("describe")({})["json"].item())
    assert served == {key: value for key, value in written.items() if key != "known_answers"}


def test_only_sessions_of_single_galaxies_do_not_split_operations(exported):
    _, folder, *_ = exported["maps"]
    code = f"""
import os, tensorflow as tf
from pathlib import Path
from ssfr.components.serving.server.servable import _load_signatures
def threads_of(one_thread):
    before = len(os.listdir("/proc/self/task"))
    kept.append(_load_signatures(Path({str(folder)!r}), one_thread))
    return len(os.listdir("/proc/self/task")) - before
assert tf.reduce_sum(tf.ones(3)) == 3
kept = []
threads_of(True)  # starts the threads that all sessions have together
print(threads_of(False), threads_of(True))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    cores = len(os.sched_getaffinity(0))
    # A version has a session of several galaxies, and one of a single galaxy where that is worth it.
    assert done.stdout == f"{cores} {cores + 1}\n", done.stderr


@pytest.mark.parametrize(("galaxies", "session"), [(0, "many"), (1, "one"), (3, "many")])
def test_single_galaxies_have_a_session_of_their_own(exported, monkeypatch, galaxies, session):
    *_, servable = exported["maps"]
    signature = servable.signature("predict_maps")
    asked = []
    for name in ("one", "many"):
        call = getattr(signature, f"_for_{name}")
        monkeypatch.setattr(
            signature, f"_for_{name}", lambda *arrays, n=name, call=call: asked.append(n) or call(*arrays)
        )
    signature({"maps": random_maps(galaxies)})
    assert asked == [session]


def test_a_single_galaxy_does_not_wait_for_batches(exported):
    *_, servable = exported["maps"]
    signature = servable.signature("predict_maps")
    batch = np.repeat(random_maps(1), 4000, axis=0)
    with ThreadPoolExecutor() as pool:
        batches = [pool.submit(signature, {"maps": batch}) for _ in range(2 * len(os.sched_getaffinity(0)))]
        time.sleep(0.1)  # until TensorFlow computes them
        signature({"maps": random_maps(1)})
        assert not any(batch.done() for batch in batches)


def test_what_is_answered_can_not_be_written_to(exported):
    *_, servable = exported["maps"]
    answers = servable.signature("predict_maps")({"maps": random_maps(1)})
    assert not any(array.flags.writeable for array in answers.values())


def test_one_galaxy_and_several_get_the_same_answers(exported):
    *_, servable = exported["maps"]
    maps = random_maps(3)
    signature = servable.signature("predict_maps")
    together = signature({"maps": maps})["log10_ssfr"]
    alone = [signature({"maps": maps[[row]]})["log10_ssfr"][0] for row in range(3)]
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_the_manifest_lists_every_file_with_its_digest(exported):
    _, folder, *_ = exported["maps"]
    files = verify_version(folder)["files"]
    assert {"saved_model.pb", "variables/variables.index", "assets.extra/ssfr.json"} <= set(files)


def test_another_training_is_another_model(exported, tmp_path):
    again = write_random_model(tmp_path / "again", map_spec())
    other = write_random_model(tmp_path / "other", map_spec(), seed=1)
    assert model_digest(again) == model_digest(exported["maps"][0])
    assert model_digest(other) != model_digest(again)


def test_a_model_that_answers_otherwise_than_when_it_was_exported_is_refused(exported, tmp_path):
    import shutil

    from ssfr.components.storage.artifact import publish

    _, folder, *_ = exported["maps"]
    part = tmp_path / "part"
    shutil.copytree(folder, part)
    (part / "manifest.json").unlink()
    path = part / "assets.extra" / "ssfr.json"
    description = json.loads(path.read_text())
    description["known_answers"]["predict_maps"]["log10_ssfr"][0] += 0.1
    path.write_text(json.dumps(description))
    publish(part, tmp_path / "1", {})
    with pytest.raises(InputError, match=r"'predict_maps' differs by 0\.1 dex"):
        Servable.load(tmp_path / "1", "maps", 1)


def test_the_saved_model_needs_neither_keras_nor_python(exported):
    _, folder, *_ = exported["eight_bit"]
    graph = SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]
    objects = {node.user_object.identifier for node in graph.object_graph_def.nodes}
    assert objects <= {"", "_generic_user_object", "trackable_list_wrapper", "signature_map"}
    operations = {node.op for function in graph.graph_def.library.function for node in function.node_def}
    assert not {name for name in operations if "PyFunc" in name or name.startswith("Xla")}
