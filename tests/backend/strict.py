"""Arrays that lie in NumPy's memory and refuse what CuPy's arrays refuse.

`StrictEmulator` runs the kernels on them, so a line that CuPy would stop at stops here without a
GPU. What exists, and with which parameters, follows CuPy 14; test_strict.py compares the two where
CuPy is installed. More is refused than by CuPy, never less, with one exception: results and dtypes
are NumPy's.
"""

import functools
from types import SimpleNamespace

import numpy as np

from he_gpu.backend import emulator, registry
from he_gpu.backend.emulator.device import Emulator

GARBAGE = 0xA5
"""Every byte of an array that nobody has written yet."""
MOST_JOINED = 8
"""Arrays that CuPy joins by a copy of each; it moves the addresses of more to the device."""


class RefusedError(RuntimeError):
    """Stands for `CUDARuntimeError`."""


watched = SimpleNamespace(capturing=False, allocator=None)
"""Whether a stream is captured, where a move between host and device is refused or, by CUDA, taken
for one of the same memory at each replay; and what is asked for memory, see `capturing`."""


def _moves(what):
    """What only a move between host and device can do, or a wait for the device."""
    if watched.capturing:
        raise RefusedError(f"{what} while a stream is captured")


def _host(value, what="argument"):
    """The NumPy array inside a device array: nothing else passes for one."""
    if not isinstance(value, StrictArray):
        raise TypeError(f"Unsupported type {type(value)} as {what}")
    return value._host


def _operand(value):
    """What takes part in arithmetic: a device array or one number, never a NumPy array."""
    if isinstance(value, StrictArray):
        return value._host
    if isinstance(value, bool | int | float | complex | np.generic):
        return value
    raise TypeError(f"Unsupported type {type(value)}")


def memory_of(host):
    """The array that a view is of, or the array itself."""
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


def _wrapped(result):
    if isinstance(result, tuple):
        return tuple(_wrapped(each) for each in result)
    return StrictArray(np.asarray(result))  # a reduction to one element is an array without axes


def _index(key):
    """A key as NumPy takes it; CuPy moves lists and NumPy arrays of indices to the device."""
    if isinstance(key, list) and not all(type(part) is int for part in key):
        raise TypeError("a list as the whole index must hold integers")
    parts = key if isinstance(key, tuple) else (key,)
    arrays = [part for part in parts if isinstance(part, StrictArray | np.ndarray | list | bool)]
    masks = [part for part in arrays if np.asarray(_moved(part)).dtype == bool]
    if masks or any(not isinstance(part, StrictArray) for part in arrays):
        _moves("an index by a mask, or by an array of the host,")
    if masks and len(arrays) > 1:
        raise ValueError("CuPy only supports slices that consist of one boolean array")
    for part in parts:
        if isinstance(part, slice):
            ends = (part.start, part.stop, part.step)
            if not all(end is None or isinstance(end, int | np.integer) for end in ends):
                raise TypeError(f"slice indices must be integers, got {part}")
        elif arrays and isinstance(part, np.integer):
            raise IndexError("beside arrays of indices only integers of Python are valid")
        elif not (
            part is None
            or part is Ellipsis
            or isinstance(part, int | np.integer | list | np.ndarray | StrictArray)
        ):
            raise IndexError(f"invalid index type {type(part)}")
    moved = tuple(map(_moved, parts))
    return moved if isinstance(key, tuple) else moved[0]


def _moved(part):
    return part._host if isinstance(part, StrictArray) else part


def _checked_dtype(dtype):
    dtype = np.dtype(dtype)
    if dtype.kind not in "biufc" or dtype.itemsize > 8 * (1 + (dtype.kind == "c")):
        raise ValueError(f"Unsupported dtype {dtype}")
    if not dtype.isnative:
        raise ValueError(f"Unsupported byte order of dtype {dtype}")
    return dtype


class StrictArray:
    """Stands for `cupy.ndarray`.

    Attributes:
        device: on which it lies.
    """

    __array_priority__ = 100
    __hash__ = None
    device = SimpleNamespace(id=0)

    def __init__(self, host):
        _checked_dtype(host.dtype)
        self._host = host
        if watched.allocator is not None:
            watched.allocator(host)

    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    shape = property(lambda self: self._host.shape)
    T = property(lambda self: StrictArray(self._host.T))

    @property
    def base(self):
        base = self._host.base
        return StrictArray(base) if isinstance(base, np.ndarray) else None

    @property
    def flags(self):
        flags = self._host.flags
        return SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata
        )

    @property
    def __cuda_array_interface__(self):
        return {"data": (self._host.ctypes.data, False)}

    @property
    def data(self):
        memory = memory_of(self._host)
        own = SimpleNamespace(ptr=memory.ctypes.data if memory.size else 0)
        return SimpleNamespace(ptr=self._host.ctypes.data if memory.size else 0, mem=own)

    # NumPy's ways in: closed, or by way of the functions that CuPy has too.

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        function = getattr(module, ufunc.__name__, None)
        if method != "__call__" or function is None:
            return NotImplemented
        return function(*inputs, out=None if out is None else out[0], **kwargs)

    def __array_function__(self, func, types, args, kwargs):
        function = getattr(module, func.__name__, None)
        if function is None or any(t not in (StrictArray, np.ndarray) for t in types):
            return NotImplemented
        return function(*args, **kwargs)

    # Ways to the host, which wait for the device.

    def get(self, stream=None, order="C", out=None, blocking=True):
        _moves("get")
        assert stream is None
        assert out is None
        return self._host.copy(order)

    def item(self, *args):
        _moves("item")
        return self._host.item(*args)

    def tolist(self):
        _moves("tolist")
        return self._host.tolist()

    def tobytes(self, order="C"):
        _moves("tobytes")
        return self._host.tobytes(order)

    def __bool__(self):
        _moves("bool")
        if self.size != 1:
            raise ValueError("The truth value of an array is ambiguous")
        return bool(self._host.reshape(())[()])

    def __int__(self):
        _moves("int")
        return int(self._host)

    def __float__(self):
        _moves("float")
        return float(self._host)

    def __repr__(self):
        return repr(self._host)

    def __format__(self, spec):
        return format(self._host, spec)

    def __reduce__(self):
        return asarray, (self.get(),)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        return self.copy()

    # Shapes and elements

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        found = self._host[_index(key)]
        if isinstance(found, np.generic):  # one element: a view without axes
            found = self._host[(*_index(key if isinstance(key, tuple) else (key,)), ...)]
        return StrictArray(found)

    def __setitem__(self, key, value):
        self._host[_index(key)] = _operand(value)

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        assert casting is None
        assert subok is None
        return StrictArray(self._host.astype(_checked_dtype(dtype), order, copy=copy))

    def view(self, dtype=None, type=None):
        assert type is None
        return StrictArray(self._host.view() if dtype is None else self._host.view(dtype))

    def copy(self, order="C"):
        return StrictArray(self._host.copy(order))

    def fill(self, value):
        self._host.fill(_operand(value))

    def reshape(self, *shape, order="C", copy=None):
        assert copy is None
        return StrictArray(self._host.reshape(*shape, order=order))

    def ravel(self, order="C"):
        return StrictArray(self._host.ravel(order))

    def flatten(self, order="C"):
        return StrictArray(self._host.flatten(order))

    def squeeze(self, axis=None):
        return StrictArray(self._host.squeeze(axis))

    def swapaxes(self, axis1, axis2):
        return StrictArray(self._host.swapaxes(axis1, axis2))

    def transpose(self, *axes):
        return StrictArray(self._host.transpose(*axes))

    def diagonal(self, offset=0, axis1=0, axis2=1):
        return StrictArray(self._host.diagonal(offset, axis1, axis2))

    def repeat(self, repeats, axis=None):
        return StrictArray(self._host.repeat(repeats, axis))

    def take(self, indices, axis=None, out=None):
        assert out is None
        return _wrapped(self._host.take(_moved(indices), axis))

    # Reductions: no `initial`, no `where`

    def sum(self, axis=None, dtype=None, out=None, keepdims=False):
        assert out is None
        return _wrapped(self._host.sum(axis, dtype, keepdims=keepdims))

    def cumsum(self, axis=None, dtype=None, out=None):
        assert out is None
        return _wrapped(self._host.cumsum(axis, dtype))

    def max(self, axis=None, out=None, keepdims=False):
        assert out is None
        return _wrapped(self._host.max(axis, keepdims=keepdims))

    def min(self, axis=None, out=None, keepdims=False):
        assert out is None
        return _wrapped(self._host.min(axis, keepdims=keepdims))

    def all(self, axis=None, out=None, keepdims=False):
        assert out is None
        return _wrapped(self._host.all(axis, keepdims=keepdims))

    def any(self, axis=None, out=None, keepdims=False):
        assert out is None
        return _wrapped(self._host.any(axis, keepdims=keepdims))


StrictArray.__module__ = "cupy"  # by which the library knows a device array


def _ufunc(name):
    """A function element by element, without NumPy's `where` and `order`."""
    function = getattr(np, name)

    def call(*args, out=None, casting="same_kind", dtype=None):
        if len(args) == function.nin + 1 and out is None:
            *args, out = args
        hosts = [_operand(value) for value in args]
        if out is not None:
            return_value = out
            function(*hosts, out=_host(out, "out"), casting=casting, dtype=dtype)
            return return_value
        return _wrapped(function(*hosts, casting=casting, dtype=dtype))

    call.__name__ = name
    return call


def _leaves_to(other):
    """Whether CuPy leaves an operator to the other operand."""
    try:
        return other.__array_ufunc__ is None
    except AttributeError:
        return getattr(other, "__array_priority__", 0) > StrictArray.__array_priority__


def _set_operators():
    """Give the array its operators; what CuPy leaves to the other operand is left here."""
    binary = {
        "add": "add",
        "sub": "subtract",
        "mul": "multiply",
        "truediv": "true_divide",
        "floordiv": "floor_divide",
        "mod": "remainder",
        "pow": "power",
        "lshift": "left_shift",
        "rshift": "right_shift",
        "and": "bitwise_and",
        "or": "bitwise_or",
        "xor": "bitwise_xor",
    }
    compared = {
        "lt": "less",
        "le": "less_equal",
        "eq": "equal",
        "ne": "not_equal",
        "gt": "greater",
        "ge": "greater_equal",
    }
    for symbol, name in (binary | compared).items():
        function = _ufunc(name)

        def operator(x, y, f=function):
            return NotImplemented if _leaves_to(y) else f(x, y)

        setattr(StrictArray, f"__{symbol}__", operator)
        if symbol in binary:
            setattr(StrictArray, f"__r{symbol}__", lambda x, y, f=function: f(y, x))
            setattr(StrictArray, f"__i{symbol}__", lambda x, y, f=function: f(x, y, out=x))
    for symbol, name in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
        function = _ufunc(name)
        setattr(StrictArray, f"__{symbol}__", lambda x, f=function: f(x))


_set_operators()


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    if isinstance(a, StrictArray):
        same = copy is not True and (dtype is None or a.dtype == dtype) and order is None
        return a if same else a.astype(a.dtype if dtype is None else dtype)
    _moves("asarray")
    host = np.asarray(a, dtype)
    _checked_dtype(host.dtype)
    return StrictArray(host.copy("C" if order is None else order))


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    host = _moved(obj)
    if host is obj:
        _moves("array")
    return StrictArray(np.array(host, dtype, copy=copy, order=order, ndmin=ndmin))


def ascontiguousarray(a, dtype=None):
    return StrictArray(np.ascontiguousarray(_host(a), dtype))


def empty(shape, dtype=float, order="C"):
    host = np.empty(shape, _checked_dtype(dtype), order)
    host.reshape(-1, order="A").view(np.uint8).fill(GARBAGE)
    return StrictArray(host)


def zeros(shape, dtype=float, order="C"):
    return StrictArray(np.zeros(shape, _checked_dtype(dtype), order))


def ones(shape, dtype=float, order="C"):
    return StrictArray(np.ones(shape, _checked_dtype(dtype), order))


def full(shape, fill_value, dtype=None, order="C"):
    return StrictArray(np.full(shape, _operand(fill_value), dtype, order))


def arange(start, stop=None, step=1, dtype=None):
    return StrictArray(np.arange(*((start,) if stop is None else (start, stop, step)), dtype=dtype))


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    return empty(_host(prototype).shape if shape is None else shape, dtype or prototype.dtype)


def zeros_like(a, dtype=None, order="K", subok=None, shape=None):
    return zeros(_host(a).shape if shape is None else shape, dtype or a.dtype)


def broadcast_to(array, shape):
    return StrictArray(np.broadcast_to(_host(array), shape))


def moveaxis(a, source, destination):
    return StrictArray(np.moveaxis(_host(a), source, destination))


def swapaxes(a, axis1, axis2):
    return StrictArray(np.swapaxes(_host(a), axis1, axis2))


def diagonal(a, offset=0, axis1=0, axis2=1):
    return StrictArray(_host(a)).diagonal(offset, axis1, axis2)


def expand_dims(a, axis):
    return StrictArray(np.expand_dims(_host(a), axis))


def concatenate(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    assert out is None
    if len(tup) > MOST_JOINED:
        _moves("concatenate of many arrays")
    hosts = [_host(each) for each in tup]
    return StrictArray(np.concatenate(hosts, axis, dtype=dtype, casting=casting))


def stack(tup, axis=0, out=None, *, dtype=None, casting="same_kind"):
    assert out is None
    if len(tup) > MOST_JOINED:
        _moves("stack of many arrays")
    return StrictArray(np.stack([_host(each) for each in tup], axis, dtype=dtype, casting=casting))


def sum(a, axis=None, dtype=None, out=None, keepdims=False):
    return StrictArray(_host(a)).sum(axis, dtype, out, keepdims)


def cumsum(a, axis=None, dtype=None, out=None):
    return StrictArray(_host(a)).cumsum(axis, dtype, out)


def take(a, indices, axis=None, out=None):
    return StrictArray(_host(a)).take(indices, axis, out)


def where(condition, x=None, y=None):
    assert x is not None, "where of one argument waits for the device"
    assert y is not None
    return _wrapped(np.where(*map(_operand, (condition, x, y))))


def searchsorted(a, v, side="left", sorter=None):
    assert sorter is None
    return _wrapped(np.searchsorted(_host(a), _host(v), side))


def may_share_memory(a, b, max_work=None):
    return np.may_share_memory(_host(a), _host(b))


def array_equal(a1, a2, equal_nan=False):
    return _wrapped(np.array_equal(_host(a1), _host(a2), equal_nan))


UFUNCS = (
    *("absolute", "add", "bitwise_and", "bitwise_or", "bitwise_xor", "equal", "floor_divide"),
    *("greater", "greater_equal", "invert", "left_shift", "less", "less_equal", "logical_not"),
    *("maximum", "minimum", "multiply", "negative", "not_equal", "power", "remainder"),
    *("right_shift", "subtract", "true_divide"),
)
FUNCTIONS = (
    *(array, asarray, ascontiguousarray, empty, zeros, ones, full, arange, empty_like, zeros_like),
    *(broadcast_to, moveaxis, swapaxes, diagonal, expand_dims, concatenate, stack, sum, cumsum),
    *(take, where, searchsorted, may_share_memory, array_equal),
)
module = SimpleNamespace(
    ndarray=StrictArray,
    cuda=SimpleNamespace(Device=lambda index: SimpleNamespace(use=lambda: None)),
    **{function.__name__: function for function in FUNCTIONS},
    **{name: _ufunc(name) for name in UFUNCS},
)
"""Stands for the module `cupy`: what it lacks here is to be looked up in CuPy first, and added."""


class StrictEmulator(Emulator):
    """The emulator with strict arrays in place of NumPy's."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.xp, self._array_type = module, StrictArray

    def graph(self):
        return None  # the emulator's traces are of NumPy's arrays

    def _start(self, kernel, function, grid, block, args, shared_bytes):
        super()._start(kernel, function, grid, block, [_moved(v) for v in args], shared_bytes)


@functools.cache
def device():
    """The one strict emulator, so that its kernels are bound once."""
    return StrictEmulator()


_make = registry._make.__wrapped__  # before anything took its place


def backend_of(function):
    """The backend "emulator" of the device that a function returns."""
    before, emulator.device = emulator.device, function
    try:
        return _make("emulator")
    finally:
        emulator.device = before


@functools.cache
def backend():
    """The backend "emulator" with strict arrays."""
    return backend_of(device)


def replacements():
    """What takes the place of the emulator: (object, name, value) of each attribute.

    "cuda" is another name of it, for the library takes arrays that are CuPy's to lie there.
    """
    made, make, missing = backend(), registry._make, registry.unavailable_reason
    names = ("emulator", "cuda")
    return (
        (emulator, "device", device),
        (registry, "_make", lambda name: made if name in names else make(name)),
        (registry, "unavailable_reason", lambda name: None if name in names else missing(name)),
    )
