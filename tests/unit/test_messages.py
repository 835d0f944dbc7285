"""Requests as bytes, beside protocol buffers' own classes."""

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from ssfr.components.serving.protocol.messages import parse_request, predict_request
from ssfr.components.serving.protocol.tensors import TensorSpec, from_proto, to_proto

numbers = arrays(
    st.sampled_from([np.float32, np.uint8, np.int64]), array_shapes(min_dims=0, max_dims=4, min_side=0)
)
strings = st.lists(st.binary(max_size=300)).map(lambda some: np.array([*some, None], dtype=object)[:-1])


@given(array=numbers | strings)
def test_tensorflow_reads_a_tensor_as_it_was(array):
    read = tf.make_ndarray(to_proto(array))
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(read, array)


tensors = st.dictionaries(st.text(max_size=20), numbers | strings, max_size=3)
specs = st.builds(ModelSpec, name=st.text(max_size=200), signature_name=st.text(max_size=20))


@given(inputs=tensors, spec=specs)
def test_the_bytes_of_a_request_are_those_of_the_message(inputs, spec):
    ordinary = {key: to_proto(array) for key, array in inputs.items()}
    assert PredictRequest.FromString(predict_request(spec, inputs)) == PredictRequest(
        model_spec=spec, inputs=ordinary
    )


def test_maps_that_are_not_contiguous_are_sent_in_their_order():
    maps = np.arange(12, dtype=np.float32).reshape(3, 4).T[::2]
    sent = PredictRequest.FromString(predict_request(ModelSpec(), {"maps": maps})).inputs["maps"]
    np.testing.assert_array_equal(from_proto(sent, TensorSpec(tf.float32, (2, 3))), maps)


def understood(wire):
    """What we read in a message, put back into one; None: it is none."""
    try:
        request = parse_request(wire)
    except DecodeError:
        return None
    message = PredictRequest()
    message.CopyFrom(request.message)
    for name, content in request.contents.items():
        assert name in message.inputs
        assert not message.inputs[name].tensor_content
        message.inputs[name].tensor_content = bytes(content)
    return message.SerializeToString(deterministic=True)


def meant(wire):
    """What protocol buffers' own class reads in it."""
    try:
        return PredictRequest.FromString(wire).SerializeToString(deterministic=True)
    except DecodeError:
        return None


requests = st.builds(predict_request, specs, tensors)


@given(requests)
def test_a_request_is_read_as_it_was_written(wire):
    assert understood(wire) == meant(wire) is not None


def test_contents_are_views_of_what_came():
    maps = np.arange(6, dtype=np.float32).reshape(1, 6)
    request = parse_request(predict_request(ModelSpec(name="m"), {"maps": maps}))
    assert not request.message.inputs["maps"].tensor_content
    assert request.contents["maps"] == maps.tobytes()


@given(requests, st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4), st.floats(0, 1))
def test_a_damaged_request_means_what_it_means_to_protocol_buffers(wire, changes, kept):
    damaged = bytearray(wire)
    for place, value in changes:
        if damaged:
            damaged[int(place * (len(damaged) - 1))] = value
    damaged = bytes(damaged[: round(kept * len(damaged))])
    assert understood(damaged) == meant(damaged)


@given(st.binary(max_size=60))
@example(b"\x12")  # ends before its length
@example(b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")  # a length of 64 bits
@example(b"\x12\x04\x0a\x00\x12\x7f")  # a tensor that is longer than the message
@example(b"\x12\x05\x0a\x01\xff\x12\x00")  # a name that is not UTF-8
@example(b"\x13\x14")  # a group
def test_any_bytes_mean_what_they_mean_to_protocol_buffers(wire):
    assert understood(wire) == meant(wire)


def entry(*tensors, name=b"x"):
    """An input whose tensor is given in several pieces, as protocol buffers allow."""
    fields = b"".join(b"\x12" + bytes([len(piece)]) + piece for piece in tensors)
    value = b"\x0a" + bytes([len(name)]) + name + fields
    return b"\x12" + bytes([len(value)]) + value


ONE, OTHER, UNPACKED = (
    TensorProto(dtype=1, **numbers).SerializeToString()
    for numbers in ({"tensor_content": b"abcd"}, {"tensor_content": b"efgh"}, {"float_val": [1.0, 2.0]})
)


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(entry(ONE) + entry(OTHER), id="name twice"),
        pytest.param(entry(ONE) + entry(UNPACKED), id="name twice, other form"),
        pytest.param(entry(ONE, OTHER), id="two tensors"),
        pytest.param(entry(ONE + OTHER), id="two contents"),
        pytest.param(entry(), id="no tensor"),
        pytest.param(entry(ONE)[:2] + entry(ONE)[5:] + entry(ONE)[2:5], id="name last"),
        pytest.param(entry(TensorProto(dtype=1).SerializeToString() * 40 + ONE), id="many fields"),
        pytest.param(
            b"".join(entry(ONE, name=f"{number}".encode()) for number in range(100)), id="many inputs"
        ),
    ],
)
def test_unusual_forms_mean_what_they_mean_to_protocol_buffers(wire):
    assert understood(wire) == meant(wire)
    assert meant(wire) is not None


def test_contents_of_a_message_of_very_many_fields_are_left_to_protocol_buffers():
    request = parse_request(entry(ONE) + b"\x30\x01" * 10_000_000)
    assert request.message.inputs["x"].tensor_content == b"abcd"
    assert not request.contents


def test_a_float_that_stands_for_many_is_not_taken_for_contents():
    request = parse_request(entry(UNPACKED))
    assert not request.contents
    assert request.message.inputs["x"].float_val == [1.0, 2.0]
