"""Large values of other libraries: their bytes travel beside the pickle, and nothing is lost."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from radical.asyncflow.worker import dump, dump_arguments

LARGE = 40_000  # elements


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


@pytest.fixture
def pandas() -> Any:
    return pytest.importorskip("pandas")


@pytest.fixture
def pyarrow() -> Any:
    return pytest.importorskip("pyarrow")


def travel(value: Any, *, by_value: bool = False) -> tuple[Any, int, int]:
    """Return *value* as it arrives, and how many bytes went inside and beside its pickle."""
    buffers: list[Any] = []
    body = dump(value, buffers, by_value=by_value)
    received = [bytearray(buffer) for buffer in buffers]
    return pickle.loads(body, buffers=received), len(body), sum(map(len, received))


@dataclass
class Step:
    weights: Any
    name: str = "one"


# ------------------------------------------------------------------------------ torch


def plain(torch: Any) -> dict[str, Any]:
    base = torch.arange(LARGE, dtype=torch.float64)
    table = base.reshape(200, 200)
    return {
        "one dimension": base,
        "two dimensions": table,
        "transposed": table.t(),
        "channels last": base.reshape(2, 2, 100, 100).to(memory_format=torch.channels_last),
        "end of another": base[-10_000:],
        "expanded": base[:5_000].expand(100, 5_000),
        "overlapping": base.as_strided((3_000, 3), (2, 1)),
        "with a gradient": base.clone().requires_grad_(),
        "computed with a gradient": base.clone().requires_grad_() * 2,
        "a number": torch.tensor(3.5),
        "small": torch.arange(3),
        "empty": torch.empty(0, 3, dtype=torch.float16),
    }


@pytest.mark.parametrize("by_value", [False, True])
def test_a_dense_tensor_is_what_plain_pickle_gives(torch: Any, by_value: bool) -> None:
    for name, value in plain(torch).items():
        again, inside, _ = travel(value, by_value=by_value)
        expected = pickle.loads(pickle.dumps(value))
        assert torch.equal(again, expected), name
        for attribute in ("dtype", "shape", "requires_grad", "is_leaf", "device", "layout"):
            assert getattr(again, attribute) == getattr(expected, attribute), name
        assert again.stride() == expected.stride(), name
        assert type(again) is torch.Tensor, name
        assert again._base is None, name
        assert inside < 1000, name


def test_a_tensor_of_every_dtype_arrives(torch: Any) -> None:
    dtypes = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    quantized = {dtype for dtype in dtypes if "q" in str(dtype)}
    for dtype in dtypes - quantized - {torch.complex32}:  # of that PyTorch itself warns
        for size in (7, LARGE):
            value = torch.zeros(size * dtype.itemsize, dtype=torch.uint8).view(dtype)
            value.view(torch.uint8)[::3] = 1
            again, _, _ = travel(value)
            assert again.dtype is dtype
            assert torch.equal(again.view(torch.uint8), value.view(torch.uint8)), dtype


def test_a_tensor_that_arrives_is_the_receivers_own_and_writable(torch: Any) -> None:
    value = torch.zeros(LARGE)
    body = dump(value, buffers := [])
    again = pickle.loads(body, buffers=[bytes(buffer) for buffer in buffers])  # read-only
    again += 1
    assert value.sum() == 0
    assert again.sum() == LARGE


def test_a_tensor_that_arrives_at_an_odd_address_is_moved(torch: Any) -> None:
    value = torch.arange(LARGE)
    body = dump(value, buffers := [])
    room = bytearray(buffers[0].nbytes + 1)
    room[1:] = buffers[0]
    again = pickle.loads(body, buffers=[memoryview(room)[1:]])
    assert torch.equal(again, value)
    assert again.data_ptr() % 8 == 0


def test_of_a_view_only_what_it_shows_travels(torch: Any) -> None:
    table = torch.arange(1_000_000, dtype=torch.float64).reshape(1000, 1000)
    for view in (table[:5], table[:, :5], table[::200], table.t()[::200], table[3:5, 1:2001:2]):
        again, inside, beside = travel(view)
        assert torch.equal(again, view)
        assert inside + beside <= view.nbytes + 1000
    again, inside, beside = travel(table[0, 0].expand(100_000))
    assert again.shape == (100_000,)
    assert inside + beside < 1000


def test_one_tensor_in_two_places_stays_one(torch: Any) -> None:
    value = torch.ones(LARGE)
    (first, second, view), _, beside = travel([value, value, value[:]])
    assert first is second
    assert view is not first
    assert beside == 2 * value.nbytes


@pytest.mark.filterwarnings("ignore:Sparse")
def test_other_tensors_go_the_way_of_their_library(torch: Any) -> None:
    class Named(torch.Tensor):  # type: ignore[misc]
        pass

    numbers = torch.arange(LARGE, dtype=torch.float32)
    marked = numbers.clone()
    marked.origin = "a file"
    others = {
        "sparse": torch.eye(200).to_sparse(),
        "sparse rows": torch.eye(200).to_sparse_csr(),
        "conjugated": torch.complex(numbers, numbers).conj(),
        "negated": torch.complex(numbers, numbers).conj().imag,
        "without data": numbers.to("meta"),
        "with an attribute": marked,
        "of a subclass": numbers.as_subclass(Named),
        "a parameter": torch.nn.Parameter(numbers),
    }
    for name, value in others.items():
        again, _, _ = travel(value)
        assert type(again) is type(value), name
        assert again.layout == value.layout, name
        assert again.device == value.device, name
        assert again.is_conj() == value.is_conj(), name
        assert again.requires_grad == value.requires_grad, name
        assert getattr(again, "origin", None) == getattr(value, "origin", None), name
        if name != "without data":
            assert torch.equal(again.to_dense(), value.to_dense()), name


def test_a_quantized_tensor_keeps_its_scale(torch: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions want another library for these
        value = torch.quantize_per_tensor(torch.arange(100.0), 0.5, 3, torch.quint8)
        again, _, _ = travel(value)
        assert again.q_scale() == 0.5
        assert torch.equal(again.dequantize(), value.dequantize())


def test_a_module_and_its_state_travel_beside_the_pickle(torch: Any) -> None:
    module = torch.nn.Linear(200, 200)
    again, inside, beside = travel({"model": module, "state": module.state_dict()})
    assert inside < 5000
    assert beside == 2 * module.weight.nbytes
    assert torch.equal(again["model"].weight, module.weight)
    assert again["model"].weight.requires_grad
    assert list(again["state"]) == ["weight", "bias"]
    again["model"](torch.ones(200)).sum().backward()
    assert again["model"].weight.grad is not None


def test_tensors_inside_other_objects_travel_beside_the_pickle(torch: Any) -> None:
    args = (Step(torch.ones(LARGE)), [torch.ones(LARGE), lambda: 3])
    body = dump_arguments(travel, args, {}, buffers := [])
    assert [memoryview(buffer).nbytes for buffer in buffers] == [4 * LARGE] * 2
    (step, (_, function)), _ = pickle.loads(body, buffers=buffers)
    assert step.weights.sum() == LARGE
    assert function() == 3


def test_many_small_tensors_stay_inside_in_few_bytes(torch: Any) -> None:
    value = [torch.full((16,), float(place)) for place in range(1000)]
    again, inside, beside = travel(value)
    assert beside == 0
    assert inside < 200 * len(value)
    assert all(torch.equal(one, other) for one, other in zip(again, value, strict=True))


ON_A_GPU = f"""
import pickle

import torch
from radical.asyncflow.worker import dump

for value in (
    torch.arange({LARGE}, device="cuda"),
    torch.ones(200, 200, device="cuda").t()[::2].requires_grad_(),
    torch.eye(200, device="cuda").to_sparse(),
    torch.nn.Parameter(torch.ones({LARGE}, device="cuda")),
):
    buffers = []
    body = dump(value, buffers, by_value=False)
    again = pickle.loads(body, buffers=map(bytearray, buffers))
    assert again.device.type == "cpu"
    assert again.requires_grad == value.requires_grad
    assert torch.equal(again.to_dense(), value.detach().cpu().to_dense())
"""


def test_a_tensor_on_a_gpu_arrives_on_the_cpu(torch: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    # In a program of its own, because CUDA keeps its threads and files until the end of one.
    done = subprocess.run([sys.executable, "-c", ON_A_GPU], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------- pandas and pyarrow


def test_tables_of_pandas_travel_beside_the_pickle(pandas: Any) -> None:
    numbers = np.arange(LARGE, dtype=np.float64).reshape(-1, 4)
    frame = pandas.DataFrame(numbers, columns=list("abcd"))
    mixed = frame.assign(text="a text of some length", when=pandas.Timestamp(0), kind=1)
    mixed["kind"] = mixed["kind"].astype("category")
    values = {
        "frame": frame,
        "mixed": mixed,
        "rows": frame.copy().iloc[10:-10],
        "each other row": frame.iloc[::2],
        "columns": frame[["a", "c"]],
        "series": frame["b"],
        "text": mixed["text"],
        "times": mixed["when"],
        "index": pandas.Index(frame["a"]),
        "levels": frame.set_index(["a", "b"]),
        "nullable": frame["a"].astype("Int64"),
    }
    for name, value in values.items():
        again, inside, _ = travel(value)
        assert again.equals(value), name
        assert inside < 16_000, name  # codes and small parts


def test_objects_in_a_table_of_pandas_travel_as_objects(pandas: Any) -> None:
    value = pandas.DataFrame({"a": pandas.Series([{"x": 1}, (2,), None] * 100, dtype=object)})
    again, _, beside = travel(value)
    assert again.equals(value)
    assert beside == 0


def test_tables_of_arrow_travel_beside_the_pickle(pyarrow: Any) -> None:
    texts = [None if place % 7 == 0 else str(place) for place in range(LARGE)]
    columns = {
        "number": pyarrow.array(np.arange(LARGE)),
        "text": pyarrow.array(texts),
        "kind": pyarrow.array(["a", "b"] * (LARGE // 2)).dictionary_encode(),
        "list": pyarrow.array([[1, 2]] * LARGE),
    }
    table = pyarrow.table(columns).replace_schema_metadata({"origin": "a file"})
    values = {**columns, "table": table, "batch": pyarrow.record_batch(columns)}
    values["two chunks"] = pyarrow.concat_tables([table, table])
    values["column"] = values["two chunks"]["text"]
    for name, value in values.items():
        again, inside, _ = travel(value)
        assert type(again) is type(value), name
        assert again.equals(value), name
        assert inside < 16_000, name  # where a value is missing is one bit for each
    assert travel(table)[0].schema.metadata == {b"origin": b"a file"}
    assert travel(values["two chunks"])[0]["text"].num_chunks == 2


def test_of_a_slice_of_arrow_only_what_it_shows_travels(pyarrow: Any) -> None:
    table = pyarrow.table(
        {
            "number": pyarrow.array([None, *range(LARGE - 1)]),
            "flag": pyarrow.array([True, False] * (LARGE // 2)),
            "text": pyarrow.array([str(place) for place in range(LARGE)]),
            "both": pyarrow.array([{"x": place} for place in range(LARGE)]),
        }
    )
    for start, length in ((0, 10), (3, 1000), (LARGE - 7, 7), (5, 0)):
        part = table.slice(start, length)
        again, inside, beside = travel(part)
        assert again.equals(part)
        again.validate(full=True)
        assert inside + beside < 1.5 * part.nbytes + 4 * 4096 + 2000


# --------------------------------------------------------------------------- nothing


def test_no_library_is_imported_for_others() -> None:
    program = (
        "import sys\n"
        "from radical.asyncflow.worker import dump\n"
        "dump([object(), {1: 2}], []); dump(lambda: 3, [])\n"
        "print({'torch', 'pandas', 'pyarrow', 'numpy'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.stdout.strip(), run.stderr) == ("set()", "")
