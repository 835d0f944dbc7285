"""Our messages beside TensorFlow Serving's own, and arrays in them."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from ssfr.components.serving.protocol import wire_pb2 as wire
from ssfr.components.serving.protocol.tensors import TensorSpec, from_proto, to_proto

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "tensorflow.core.framework": ("tensor_pb2", "tensor_shape_pb2", "types_pb2"),
    "tensorflow.core.protobuf": ("meta_graph_pb2",),
    "tensorflow_serving.apis": (
        "get_model_metadata_pb2",
        "get_model_status_pb2",
        "model_management_pb2",
        "model_pb2",
        "predict_pb2",
        "prediction_log_pb2",
        "status_pb2",
    ),
    "tensorflow_serving.config": ("file_system_storage_path_source_pb2", "model_server_config_pb2"),
}


def theirs(kind):
    """TensorFlow's messages or enums, by name."""
    modules = [import_module(f"{package}.{name}") for package, names in SOURCES.items() for name in names]
    return {name: each for module in modules for name, each in getattr(module.DESCRIPTOR, kind).items()}


def shape_of(message):
    """What goes over the wire of a message: its fields, and those of the messages in it."""
    return {
        field.name: (
            field.number,
            "int32" if field.name == "error_code" else field.type,
            field.is_repeated,
            field.containing_oneof and field.containing_oneof.name,
            field.message_type and field.message_type.full_name.rpartition("serving.")[2].rpartition(".")[2],
        )
        for field in message.fields
    } | {name: shape_of(nested) for name, nested in message.nested_types_by_name.items()}


def is_part(ours, all_of_it):
    return all(
        is_part(value, all_of_it[key]) if isinstance(value, dict) else all_of_it[key] == value
        for key, value in ours.items()
    )


@pytest.mark.parametrize("name", sorted(wire.DESCRIPTOR.message_types_by_name))
def test_a_message_is_tensorflows_as_far_as_it_goes(name):
    ours = shape_of(wire.DESCRIPTOR.message_types_by_name[name])
    assert is_part(ours, shape_of(theirs("message_types_by_name")[name]))


def test_dtypes_and_states_have_tensorflows_numbers():
    numbers = dict(theirs("enum_types_by_name")["DataType"].values_by_number)
    assert {key: value.name for key, value in numbers.items() if key in wire.DataType.values()} == {
        number: name for name, number in wire.DataType.items()
    }
    states = theirs("message_types_by_name")["ModelVersionStatus"].enum_types_by_name["State"]
    assert wire.ModelVersionStatus.State.items() == [(one.name, one.number) for one in states.values]


def test_the_classes_are_those_of_the_proto_file(tmp_path):
    folder = "ssfr/components/serving/protocol"
    command = (
        f"-m grpc_tools.protoc -I {folder}={ROOT / 'components/serving/protocol'} --python_out {tmp_path}"
    )
    command += f" --pyi_out {tmp_path} {folder}/wire.proto"
    subprocess.run([sys.executable, *command.split()], check=True)
    for name in ("wire_pb2.py", "wire_pb2.pyi"):
        assert (ROOT / "components/serving/protocol" / name).read_text() == (
            tmp_path / folder / name
        ).read_text(), "run: make protocol"


@pytest.mark.parametrize("module", ["client.client", "client.inputs", "protocol.methods", "repository.sync"])
def test_tensorflow_is_not_imported(module):
    code = (
        f"import sys, ssfr.components.serving.{module}; print([m for m in sys.modules if 'tensorflow' in m])"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT)
    assert found.stdout == "[]\n"


numbers = arrays(
    st.sampled_from([np.float32, np.uint8, np.int64]), array_shapes(min_dims=0, max_dims=4, min_side=0)
)
strings = st.lists(st.binary(max_size=300)).map(lambda some: np.array([*some, None], dtype=object)[:-1])


def declaring(shape, dtype="float32", **values):
    """A tensor as a stranger may send it."""
    proto = TensorProto(dtype=tf.dtypes.as_dtype(dtype).as_datatype_enum, **values)
    for length in shape:
        proto.tensor_shape.dim.add(size=length)
    return wire.TensorProto.FromString(proto.SerializeToString())


def in_tensorflow(message, kind):
    """A message of ours as TensorFlow's class reads it."""
    return kind.FromString(message.SerializeToString())


@given(array=numbers | strings)
def test_tensorflow_reads_a_tensor_as_it_was(array):
    read = tf.make_ndarray(in_tensorflow(to_proto(array), TensorProto))
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(read, array)


@given(array=numbers | strings)
def test_a_tensor_of_tensorflow_is_read_as_it_was(array):
    sent = tf.make_tensor_proto(
        array.tolist() if array.dtype == object else array, shape=array.shape, dtype=array.dtype
    )
    received = wire.TensorProto.FromString(sent.SerializeToString())
    read = from_proto(received, TensorSpec.of(received))
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(read, array)


tensors = st.dictionaries(st.text(max_size=20), numbers | strings, max_size=3)
specs = st.builds(wire.ModelSpec, name=st.text(max_size=200), signature_name=st.text(max_size=20))
requests = st.builds(
    lambda spec, inputs: wire.PredictRequest(
        model_spec=spec, inputs={key: to_proto(array) for key, array in inputs.items()}
    ).SerializeToString(),
    specs,
    tensors,
)


def meant(data, kind):
    """What a class reads in bytes, as TensorFlow's own would write it; None: it is no such message."""
    try:
        read = kind.FromString(data)
    except DecodeError:
        return None
    return in_tensorflow(read, PredictRequest).SerializeToString(deterministic=True)


@given(requests, st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4), st.floats(0, 1))
def test_a_damaged_request_means_what_it_means_to_tensorflow(data, changes, kept):
    damaged = bytearray(data)
    for place, value in changes:
        if damaged:
            damaged[int(place * (len(damaged) - 1))] = value
    damaged = bytes(damaged[: round(kept * len(damaged))])
    assert meant(damaged, wire.PredictRequest) == meant(damaged, PredictRequest)


@given(st.binary(max_size=60))
@example(b"\x12")  # ends before its length
@example(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")  # a length of 64 bits
@example(b"\x12\x04\x0a\x00\x12\x7f")  # a tensor that is longer than the message
@example(b"\x12\x05\x0a\x01\xff\x12\x00")  # a name that is not UTF-8
@example(b"\x13\x14")  # a group
def test_any_bytes_mean_what_they_mean_to_tensorflow(data):
    assert meant(data, wire.PredictRequest) == meant(data, PredictRequest)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64", ">f4"])
def test_numbers_survive_the_wire(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    spec = TensorSpec(np.dtype(dtype).name, (None, 3, 4))
    np.testing.assert_array_equal(from_proto(to_proto(array), spec), array)


def test_bytes_survive_the_wire():
    array = np.array([b"", b"\x00\xff", b"png"], dtype=object)
    assert from_proto(to_proto(array), TensorSpec("string", (None,))).tolist() == array.tolist()


def test_numbers_in_the_unpacked_form_are_understood_too():
    proto = declaring((2, 2), float_val=[1, 2, 3, 4])
    assert from_proto(proto, TensorSpec("float32", (None, 2))).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("proto", "said"),
    [
        (declaring((1 << 40, 2), tensor_content=bytes(16)), "bytes, got 16"),
        (declaring((1 << 20, 2)), "declares 2097152 values of float32, got 0"),
        (declaring((1 << 20, 2), float_val=[0.5]), "declares 2097152 values of float32, got 1"),
        (declaring((1, 2), int_val=[1, 2]), "declares 2 values of float32, got 0"),
        (declaring((1, 2), float_val=[1, 2, 3]), "declares 2 values of float32, got 3"),
        (declaring((-1, 2), float_val=[1, 2]), "got shape"),
        (declaring((1, 2), "uint8", int_val=[1, 300]), "no uint8 has"),
        (declaring((1, 2), "uint8", int_val=[-1, 1]), "no uint8 has"),
        (declaring((1, 2), "string", tensor_content=bytes(16)), "declares 2 values of string, got 0"),
        (declaring((1, 2), "float16"), "declares 2 values of float16, got 0"),
    ],
)
def test_a_tensor_that_does_not_hold_what_it_declares_is_refused(proto, said):
    with pytest.raises(ValueError, match=said):
        from_proto(proto, TensorSpec(TensorSpec.of(proto).dtype, (None, 2)))


def test_maps_that_are_not_contiguous_are_sent_in_their_order():
    maps = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(from_proto(to_proto(maps), TensorSpec("float32", (2, 3))), maps)


def test_a_dtype_that_numpy_does_not_have_is_refused():
    proto = declaring((1,), "resource", tensor_content=bytes(2))
    with pytest.raises(ValueError, match="resource values, which numpy does not have"):
        from_proto(proto, TensorSpec.of(proto))


def test_a_dtype_that_tensorflow_does_not_have_is_refused():
    with pytest.raises(ValueError, match="number 99"):
        TensorSpec.of(wire.TensorProto(dtype=99))
