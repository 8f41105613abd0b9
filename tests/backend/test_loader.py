"""The loader: headers inlined once, kernels and their parameters found."""

import importlib.resources
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from he_gpu.backend import loader
from he_gpu.errors import KernelSourceError

HEADERS = {
    "a.cuh": '#pragma once\n#include "b.cuh"\ntypedef int a_t;\n',
    "b.cuh": "#pragma once\ntypedef int b_t;\n",
}


def parse(text, defines=(), headers=HEADERS):
    return loader.parse("sample", text, defines, headers.__getitem__)


def test_headers_are_inlined_once_with_line_directives():
    source = parse('// head\n#include "a.cuh"\n#include "b.cuh"\nint last;\n')
    assert source.text.splitlines() == [
        '#line 1 "sample.cu"',
        "// head",
        '#line 1 "a.cuh"',
        "",
        '#line 1 "b.cuh"',
        "",
        "typedef int b_t;",
        '#line 3 "a.cuh"',
        "typedef int a_t;",
        '#line 3 "sample.cu"',
        '#line 4 "sample.cu"',
        "int last;",
    ]


def test_line_directives_name_the_line_that_follows():
    source = parse('\n\n#include "a.cuh"\nint marked;\n')
    expected = {"b_t;": ("b.cuh", 2), "a_t;": ("a.cuh", 3), "marked;": ("sample.cu", 4)}
    name, number, found = "", 0, {}
    for line in source.text.splitlines():
        directive = re.fullmatch(r'#line (\d+) "(.+)"', line)
        if directive:
            number, name = int(directive[1]), directive[2]
            continue
        found |= {word: (name, number) for word in expected if line.endswith(word)}
        number += 1
    assert found == expected


def test_a_changed_header_changes_the_digest():
    text = '#include "b.cuh"\n'
    first = parse(text)
    assert parse(text).digest == first.digest
    assert parse(text, headers={"b.cuh": "typedef short b_t;\n"}).digest != first.digest
    assert parse(text, (("WIDTH", 4),)).digest != first.digest


def test_defines_come_first_and_in_order():
    source = parse("int x;\n", (("WIDTH", 4), ("DEPTH", -1)))
    assert source.text.splitlines()[:2] == ["#define WIDTH 4", "#define DEPTH -1"]


@pytest.mark.parametrize(
    "text",
    [
        "#include <cstdint>\n",
        '#include "../a.cuh"\n',
        '#ifdef X\n#include "a.cuh"\n#endif\n',
    ],
)
def test_includes_that_cannot_be_inlined_are_refused(text):
    with pytest.raises(KernelSourceError, match=r"sample\.cu:\d: only #include"):
        parse(text)


def test_a_missing_header_is_named_with_its_line():
    with pytest.raises(KernelSourceError, match=r"sample\.cu:2: no header 'absent\.cuh'"):
        loader.parse("sample", '\n#include "absent.cuh"\n')


def test_signatures():
    source = parse(
        """
        // extern "C" __global__ void in_a_comment(u64 n) {}
        extern "C" __global__ void __launch_bounds__(128)
        add_u64(const u64* __restrict__ a,  // [n]
                u64 *out, /* [n] */ u64 n, const i32 k) {}
        extern "C" __global__ __launch_bounds__(THREADS) void vector_u32(const uint4* x, float f) {}
        extern "C" __global__ void nothing() {}
        """
    )
    add, vector, nothing = source.kernels.values()
    assert (add.name, add.max_threads) == ("add_u64", 128)
    assert [parameter.name for parameter in add.parameters] == ["a", "out", "n", "k"]
    assert [parameter.dtype for parameter in add.parameters] == [
        np.uint64,
        np.uint64,
        np.uint64,
        np.int32,
    ]
    assert [parameter.is_pointer for parameter in add.parameters] == [True, True, False, False]
    assert [parameter.is_const for parameter in add.parameters] == [True, False, False, True]
    assert [parameter.declared for parameter in vector.parameters] == ["const uint4*", "float"]
    assert vector.parameters[0].dtype == np.uint32
    assert vector.max_threads == 1024
    assert nothing.parameters == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extern "C" __global__ void f(unsigned long x) {}', "cannot parse the parameter"),
        ('extern "C" __global__ void f(size_t x) {}', "type size_t"),
        ('extern "C" __global__ void f(uint4 x) {}', "type uint4"),
        ('extern "C" __global__ void f(u64** x) {}', "cannot parse the parameter"),
        ("__global__ void f(u64 x) {}", "1 uses of __global__, but 0 heads"),
        ('#define K __global__ void\nextern "C" K f(u64 x) {}', "1 uses of __global__"),
        ('extern "C" __global__ void f() {}\n' * 2, "defined twice"),
    ],
)
def test_kernel_heads_that_are_not_plain_are_refused(text, message):
    with pytest.raises(KernelSourceError, match=message):
        parse(text)


def test_an_unknown_family_is_refused():
    with pytest.raises(KernelSourceError, match="no kernel family 'absent'"):
        loader.load("absent")


def test_kernel_names_are_unique_over_all_families():
    names = [name for family in loader.families() for name in loader.load(family).kernels]
    assert len(names) == len(set(names))


def test_no_family_includes_a_system_header():
    for family in loader.families():
        assert "#include" not in loader.load(family).text


def test_kernels_are_found_from_a_checkout_that_is_not_installed():
    package = Path(loader.__file__).resolve().parents[2]
    if not (package / "kernels").is_dir():
        pytest.skip("he_gpu runs installed, not from a checkout")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from he_gpu.backend import loader; print(loader.kernel_directory())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(package)], capture_output=True, text=True, check=True
    )
    assert (Path(ran.stdout.strip()) / "primitives.cuh").is_file()


def test_kernels_are_found_beside_the_package_where_none_is_installed(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.resources, "files", absent)
    assert (loader.kernel_directory() / "primitives.cuh").is_file()
