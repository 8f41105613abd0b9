"""Saved keys and ciphertexts: what comes back, and what is refused."""

import hashlib
import json
import os
import stat
import struct
from functools import cache

import numpy as np
import pytest

from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    KeyMismatchError,
    NoSecretKeyError,
    SavedDataError,
)
from he_gpu.he import container
from he_gpu.he.container import VERSION, Header, pack, unpack, write
from he_gpu.he.context import Ckks
from he_gpu.he.parameters import INSECURE, CkksParams
from tests.he.contexts import assert_within, reals

HEAD = struct.Struct("<8sIQ")
x, y = reals(100, seed=1), reals(100, seed=2)


def parameters(depth=2, **changes):
    return CkksParams(depth, **{"security": INSECURE, "ring_degree": 1024, **changes})


@cache
def holder():
    return Ckks(parameters(), "cpu", seed=1)


@cache
def saved():
    """Bytes of each kind, by name."""
    public = holder().public(rotations=[1, -3])
    return {
        "public": public.serialize(),
        "secret": holder().serialize(secret_key=True),
        "ciphertext": holder().encrypt(x).serialize(),
        "seeded": holder().encrypt_with_secret_key(x).serialize(),
    }


def load(name, data):
    """What reads the bytes of a kind."""
    if name in ("public", "secret"):
        return Ckks.load(data, "cpu")
    return holder().load_ciphertext(data)


def changed(data, fields=None, arrays=None):
    """Bytes with other fields and arrays and a right checksum, as forgers make them; ... drops."""
    header = json_of(data)
    kind = header.pop("kind")
    found = unpack(data, (kind,), "test")[1] | (arrays or {})
    header = {k: v for k, v in (header | (fields or {})).items() if v is not ...}
    return pack(kind, header, {k: v for k, v in found.items() if v is not ...})


def json_of(data):
    length = HEAD.unpack_from(data)[2]
    return json.loads(data[HEAD.size : HEAD.size + length])


def resummed(body):
    return body + hashlib.sha256(body).digest()


KINDS = ["public", "secret", "ciphertext", "seeded"]


# What comes back


@pytest.mark.parametrize("way", ["encrypt", "encrypt_with_secret_key"])
@pytest.mark.parametrize("values", [x, x + 1j * y, x[:1], 300 * x])
def test_a_ciphertext_comes_back(way, values):
    X = getattr(holder(), way)(values)
    back = holder().load_ciphertext(X.serialize())
    assert np.array_equal(back.components, X.components)
    for name in ("level", "n_values", "span", "is_real", "size", "error", "seed"):
        assert getattr(back, name) == getattr(X, name), name
    assert back.keys is holder().keys
    assert_within(holder(), back, values)
    assert back.serialize() == X.serialize()


def test_a_computed_ciphertext_comes_back():
    X = holder().encrypt_with_secret_key(x)
    for result, expected in ((X * X, x * x), ((X * X) * 0.5, x * x / 2), (-X, -x)):
        back = holder().load_ciphertext(result.serialize())
        assert (back.level, back.error) == (result.level, result.error)
        assert_within(holder(), back, expected)


def test_a_seed_halves_what_is_saved():
    whole, half = len(saved()["ciphertext"]), len(saved()["seeded"])
    polynomial = 4 * 1024 * len(holder().params.chain.moduli(2))
    assert 2 * polynomial < whole < 2 * polynomial + 600
    assert polynomial < half < polynomial + 600


def test_a_public_context_comes_back_and_computes():
    party = Ckks.load(saved()["public"], "cpu")
    assert not party.has_secret_key
    assert party.params == holder().params
    assert party.keys.public.key_id == holder().keys.public.key_id
    assert party.keys.galois.powers == holder().public(rotations=[1, -3]).keys.galois.powers
    X = party.load_ciphertext(saved()["seeded"])
    Y = party.encrypt(y)
    Z = (X * Y).rotate(1)
    with pytest.raises(NoSecretKeyError):
        party.decrypt(Z)
    found = holder().decrypt(holder().load_ciphertext(Z.serialize()))
    assert np.abs(found[:-1] - (x * y)[1:]).max() <= Z.error < 1e-2
    with pytest.raises(ArgumentValueError, match="needs a Galois key"):
        X.rotate(2)
    assert party.serialize() == saved()["public"]


def test_uniform_halves_of_keys_are_seeds():
    keys = holder().public(rotations=[1, -3]).keys
    halves = [keys.public.half, keys.relin.half]
    halves += [keys.galois.key(power).half for power in keys.galois.powers]
    words = sum(half.nbytes for half in halves)
    assert words < len(saved()["public"]) < words + 2000


def test_a_secret_key_comes_back():
    again = Ckks.load(saved()["secret"], "cpu")
    assert again.has_secret_key
    assert again.keys.public.key_id == holder().keys.public.key_id
    assert_within(again, again.load_ciphertext(saved()["seeded"]), x)
    X = again.encrypt_with_secret_key(y)
    assert_within(holder(), holder().load_ciphertext((X * X).serialize()), y * y)
    assert_within(
        holder(), holder().load_ciphertext(X.rotate(5).replace(n_values=95).serialize()), y[5:]
    )
    assert again.serialize(secret_key=True) == saved()["secret"]


def test_a_loaded_key_draws_what_was_never_drawn():
    """The same file twice: encryptions share neither seed nor error."""
    first, second = (Ckks.load(saved()["secret"], "cpu") for _ in range(2))
    X, Y = first.encrypt_with_secret_key(x), second.encrypt_with_secret_key(x)
    assert X.seed != Y.seed
    assert not np.array_equal(first.encrypt(x).components, second.encrypt(x).components)
    assert first.keys.relin.seed != second.keys.relin.seed != holder().keys.relin.seed


def test_published_results_stay_counted():
    context = Ckks(parameters(public_queries=2), "cpu", seed=2)
    X = context.encrypt(x)
    context.decrypt_public(X)
    again = Ckks.load(context.serialize(secret_key=True), "cpu")
    again.decrypt_public(again.load_ciphertext(X.serialize()))
    with pytest.raises(ArgumentValueError, match="2 results were published"):
        again.decrypt_public(again.load_ciphertext(X.serialize()))


def test_secure_parameters_with_several_digits_come_back():
    context = Ckks(CkksParams(3), "cpu")
    assert len(context.keys.relin.half) > 1
    party = Ckks.load(context.public(rotations=[1]).serialize(), "cpu")
    X = party.encrypt(x)
    again = Ckks.load(context.serialize(secret_key=True), "cpu")
    assert_within(again, again.load_ciphertext((X * X * X).serialize()), x**3)


def test_devices_read_each_others_bytes(device):
    party = Ckks.load(saved()["public"], device)
    Z = party.load_ciphertext(saved()["seeded"]) + party.load_ciphertext(saved()["ciphertext"])
    assert party.device.startswith(device)
    assert_within(holder(), holder().load_ciphertext(Z.serialize()), 2 * x)


# Files


def test_files(tmp_path):
    old = os.umask(0o022)
    try:
        holder().save(tmp_path / "secret", secret_key=True)
        holder().public().save(str(tmp_path / "public"))
        holder().encrypt(x).save(tmp_path / "X")
    finally:
        os.umask(old)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"secret": 0o600, "public": 0o644, "X": 0o644}
    X = Ckks.load(str(tmp_path / "public"), "cpu").load_ciphertext(tmp_path / "X")
    again = Ckks.load(tmp_path / "secret", "cpu")
    assert_within(again, again.load_ciphertext(X.serialize()), x)


def test_a_secret_file_replaces_one_that_all_could_read(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    holder().save(path, secret_key=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == saved()["secret"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "X"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError("no space")

    def interrupted(descriptor):
        raise KeyboardInterrupt

    for stop, error in ((full, OSError), (interrupted, KeyboardInterrupt)):
        monkeypatch.setattr(container.os, "fsync", stop)
        with pytest.raises(error):
            write(path, saved()["ciphertext"], private=False)
        assert [file.name for file in tmp_path.iterdir()] == ["X"]
        assert path.read_bytes() == b"old"


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", tmp_path / "none" / "X", tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=r"directory|too long"):
            write(path, b"x", private=True)
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]
    write(tmp_path / ("x" * 250), b"x", private=True)  # as long as names are
    for path in ("", "/", f"{tmp_path}/a\0b"):
        with pytest.raises(ArgumentValueError, match="no file has the path"):
            write(path, b"x", private=False)
        with pytest.raises(ArgumentValueError, match="no file has the path"):
            Ckks.load(path)
    for path in (5, None, b"x"):
        with pytest.raises(ArgumentTypeError, match="path must be a str"):
            write(path, b"x", private=False)
    with pytest.raises(IsADirectoryError):
        Ckks.load(tmp_path)


def test_a_secret_file_is_private_from_its_first_byte(tmp_path, monkeypatch):
    (tmp_path / "public").write_text("what a link leads to")
    (tmp_path / "public").chmod(0o644)
    (tmp_path / "secret").symlink_to("public")
    seen = []
    monkeypatch.setattr(
        container.os, "fsync", lambda file: seen.append(stat.S_IMODE(os.fstat(file).st_mode))
    )
    old = os.umask(0)
    try:
        holder().save(tmp_path / "secret", secret_key=True)
    finally:
        os.umask(old)
    assert seen == [0o600]
    assert not (tmp_path / "secret").is_symlink()
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert (tmp_path / "public").read_text() == "what a link leads to"


def test_the_secret_key_is_saved_only_when_asked_for():
    assert not Ckks.load(holder().serialize(), "cpu").has_secret_key
    with pytest.raises(NoSecretKeyError, match="serialize"):
        holder().public().serialize(secret_key=True)
    ternary = unpack(saved()["secret"], ("a secret key",), "test")[1]["secret"].tobytes()
    assert ternary in saved()["secret"]
    for name in ("public", "ciphertext", "seeded"):
        assert ternary not in saved()[name]


def test_no_seed_of_secrets_is_saved():
    """Published seeds alone: none of them keys the stream of another file's secrets."""
    seeds = [seed for name in KINDS for seed in json_of(saved()[name]).get("seeds", {}).values()]
    assert all(len(bytes.fromhex(seed)) == 32 for seed in seeds)
    assert len(set(json_of(saved()["public"])["seeds"].values())) == len(
        json_of(saved()["public"])["seeds"]
    )


# What is refused


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_bit_is_refused_anywhere(name):
    data = saved()[name]
    length = HEAD.unpack_from(data)[2]
    start = HEAD.size + length
    places = [*range(HEAD.size), *range(HEAD.size, start, 7), start - 1, start]
    places += [
        *np.linspace(start, len(data) - 1, 50).astype(int),
        *range(len(data) - 32, len(data)),
    ]
    for place in places:
        wrong = bytearray(data)
        wrong[place] ^= 1 << place % 8
        with pytest.raises(SavedDataError):
            load(name, bytes(wrong))


@pytest.mark.parametrize("name", KINDS)
def test_a_truncated_or_longer_file_is_refused(name, tmp_path):
    data = saved()[name]
    for stop in [0, 1, 8, 19, 20, 51, 52, 100, len(data) // 2, len(data) - 33, len(data) - 1]:
        with pytest.raises(SavedDataError, match=r"no saved key|checksum"):
            load(name, data[:stop])
    (tmp_path / "longer").write_bytes(data + b"\0")
    with pytest.raises(SavedDataError, match="checksum"):
        load(name, tmp_path / "longer")


@pytest.mark.parametrize("name", KINDS)
def test_another_version_is_refused(name):
    data = saved()[name]
    for version in (0, VERSION + 1, 2**32 - 1):
        body = HEAD.pack(data[:8], version, HEAD.unpack_from(data)[2]) + data[HEAD.size : -32]
        with pytest.raises(SavedDataError, match=f"format version {version}, and this release"):
            load(name, resummed(body))


def test_another_kind_is_refused():
    for name in ("public", "secret"):
        with pytest.raises(SavedDataError, match="a ciphertext expected, got 'a "):
            holder().load_ciphertext(saved()[name])
    with pytest.raises(SavedDataError, match="a public context or a secret key expected, got"):
        Ckks.load(saved()["ciphertext"])
    for data in (b"", b"PK\x03\x04" + bytes(100), b"\x80\x04" + bytes(100)):
        with pytest.raises(SavedDataError, match=r"Ckks\.load: these bytes are no saved key"):
            Ckks.load(data)
    for source in (None, 3, ["X"]):
        with pytest.raises(ArgumentTypeError, match="bytes or a path"):
            Ckks.load(source)
    with pytest.raises(FileNotFoundError):
        Ckks.load("no such file")


def test_other_parameters_are_refused():
    other = Ckks(parameters(3), "cpu", seed=1)
    with pytest.raises(KeyMismatchError, match="other parameters"):
        other.load_ciphertext(saved()["ciphertext"])
    with pytest.raises(KeyMismatchError, match="another secret key"):
        Ckks(parameters(), "cpu", seed=2).load_ciphertext(saved()["ciphertext"])


@pytest.mark.parametrize("name", ["public", "secret"])
def test_keys_of_other_primes_are_refused(name):
    data = saved()[name]
    fields = json_of(data)["parameters"]
    for change in ({"depth": 3}, {"scale_bits": 39}, {"ring_degree": 2048}):
        with pytest.raises(KeyMismatchError, match="other primes than this release chooses"):
            load(name, changed(data, {"parameters": fields | change}))
    for change in ({"depth": -1}, {"depth": "2"}, {"security": 128}, {"security": 7}):
        with pytest.raises(KeyMismatchError, match="parameters are refused"):
            load(name, changed(data, {"parameters": fields | change}))
    for wrong in ({}, fields | {"more": 1}, None):
        with pytest.raises(SavedDataError, match="'parameters' is missing or wrong"):
            load(name, changed(data, {"parameters": wrong}))


@pytest.mark.parametrize("name", KINDS)
def test_words_that_are_not_below_their_prime_are_refused(name):
    array = "components" if name in ("ciphertext", "seeded") else "public"
    words = unpack(saved()[name], (json_of(saved()[name])["kind"],), "test")[1][array]
    limbs = words.shape[-2]
    chain = holder().params.chain
    moduli = chain.moduli(2) + (chain.special[-1:] if array == "public" else ())
    assert len(moduli) == limbs
    for limb in range(limbs):
        wrong = words.copy()
        wrong[..., limb, 5] = moduli[limb]
        with pytest.raises(SavedDataError, match=f"'{array}' has words that are not below"):
            load(name, changed(saved()[name], arrays={array: wrong}))
        wrong[..., limb, 5] = moduli[limb] - 1
        if array == "components":
            load(name, changed(saved()[name], arrays={array: wrong}))


def test_a_secret_that_is_not_ternary_is_refused():
    secret = unpack(saved()["secret"], ("a secret key",), "test")[1]["secret"].copy()
    for wrong in (2, -2, -128, 127):
        secret[7] = wrong
        with pytest.raises(SavedDataError, match="'secret' has words"):
            load("secret", changed(saved()["secret"], arrays={"secret": secret}))


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("level", [-1, 3, 1.0, True, None, "1", ...]),
        ("n_values", [0, 513, 10**400, ...]),
        ("span", [0, 99, 513, ...]),
        ("leftovers", [True, 0, ...]),
        ("is_real", [1, None, ...]),
        ("size", [-1.0, 1, "1", None, 1e300, ...]),
        ("error", [-1e-9, None, ...]),
        ("digest", ["", "00", "zz" * 32, 5, ...]),
        ("key", ["", "00" * 15, 5, ...]),
        ("seed", ["", "00" * 31, "00" * 33, 5]),
    ],
)
def test_a_wrong_field_of_a_ciphertext_is_refused(field, values):
    for value in values:
        with pytest.raises(SavedDataError, match=rf"Ckks\.load_ciphertext: the header's '{field}'"):
            load("ciphertext", changed(saved()["ciphertext"], {field: value}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_an_infinite_bound_is_refused(number):
    data = saved()["ciphertext"]
    text = json.dumps(json_of(data) | {"size": "?"}).replace('"?"', number).encode()
    rest = data[HEAD.size + HEAD.unpack_from(data)[2] : -32]
    body = HEAD.pack(data[:8], VERSION, len(text)) + text + rest
    with pytest.raises(SavedDataError, match="'size' is missing or wrong"):
        load("ciphertext", resummed(body))


@pytest.mark.parametrize("text", [b"", b"[1]", b"{", b"\xff", b"[" * 10**5, b'{"kind": 1}'])
def test_a_header_that_is_none_is_refused(text):
    body = HEAD.pack(saved()["public"][:8], VERSION, len(text)) + text
    with pytest.raises(SavedDataError, match="header"):
        Ckks.load(resummed(body))


@pytest.mark.parametrize(
    "entry",
    [
        ["components", "u4", [2, 6, 2048]],
        ["components", "O", [1]],
        ["components", "u4", [-1]],
        ["components", "u4", [2**70]],
        ["components", "u4", [10**400]],
        ["components", "u4", [True, 2, 6, 1024]],
        ["components", "u4", [2.0, 6, 1024]],
        ["components", "u4", [0]],
        ["components", "u4", [1, 1, 2, 6, 1024]],
        ["components", ["u4"], [2, 6, 1024]],
        ["components", "f8", [6, 1024]],
        ["components", "u4", ["2"]],
        ["components", "u4"],
        [["components"], "i1", [1]],
        None,
    ],
)
def test_arrays_that_are_not_there_are_refused(entry):
    data = saved()["ciphertext"]
    text = json.dumps(json_of(data) | {"arrays": [entry]}).encode()
    rest = data[HEAD.size + HEAD.unpack_from(data)[2] : -32]
    body = HEAD.pack(data[:8], VERSION, len(text)) + text + rest
    with pytest.raises(SavedDataError, match="'arrays' is missing or wrong"):
        load("ciphertext", resummed(body))


def test_arrays_of_another_shape_are_refused():
    data = saved()["ciphertext"]
    words = unpack(data, ("a ciphertext",), "test")[1]["components"]
    for wrong in (words[:1], words[:, 1:], words[..., :-1], words[0].astype(np.int8), ...):
        with pytest.raises(SavedDataError, match="'arrays'"):
            load("ciphertext", changed(data, arrays={"components": wrong}))
    with pytest.raises(SavedDataError, match="'arrays'"):
        load("ciphertext", changed(data, {"level": 1}))
    for change in ({"relin": ...}, {"public": ...}, {"3": words}):
        with pytest.raises(SavedDataError, match="'arrays'"):
            load("public", changed(saved()["public"], arrays=change))
    for name in ("ciphertext", "secret"):
        with pytest.raises(SavedDataError, match="'arrays'"):
            load(name, changed(saved()[name], arrays={"more": words}))


def test_arrays_of_one_name_are_refused():
    data = saved()["ciphertext"]
    words = unpack(data, ("a ciphertext",), "test")[1]["components"].tobytes()
    (entry,) = json_of(data)["arrays"]
    text = json.dumps(json_of(data) | {"arrays": [entry, entry]}).encode()
    body = HEAD.pack(data[:8], VERSION, len(text)) + text + 2 * words
    with pytest.raises(SavedDataError, match="'arrays' is missing or wrong"):
        load("ciphertext", resummed(body))


def test_a_header_costs_no_more_than_its_bytes():
    """Digits, depth and length whose work would grow faster than they do."""
    data = saved()["ciphertext"]
    rest = data[HEAD.size + HEAD.unpack_from(data)[2] : -32]
    for text in (
        b'{"kind": ' + b"9" * 10**6 + b"}",
        b'{"arrays": [["a", "u4", [' + b"9" * 4000 + (b", " + b"9" * 4000) * 900 + b"]]]}",
        b'{"a": ' * 10**5,
        b" " * 2**20 + b"{}",
        b"{}" + b"\0",
    ):
        body = HEAD.pack(data[:8], VERSION, len(text)) + text + rest
        with pytest.raises(SavedDataError, match="header"):
            load("ciphertext", resummed(body))
    for length in (0, 2**63, 2**64 - 1, len(data)):
        with pytest.raises(SavedDataError, match=r"checksum|header"):
            load("ciphertext", resummed(HEAD.pack(data[:8], VERSION, length) + data[20:-32]))


def test_parameters_without_their_keys_make_no_tables(monkeypatch):
    fields = {"depth": 2, "scale_bits": 40, "security": 0, "ring_degree": 2048, "public_queries": 0}
    digest = CkksParams(**fields).digest.hex()
    monkeypatch.setattr("he_gpu.he.storage.Ladder", lambda *_: pytest.fail("made"))
    for name in ("public", "secret"):
        data = changed(saved()[name], {"parameters": fields, "digest": digest})
        with pytest.raises(SavedDataError, match="'arrays'"):
            load(name, data)


@pytest.mark.parametrize("name", KINDS)
def test_forgers_get_an_error_of_this_library_or_a_whole_object(name):
    """Every field of the header with values of every type and range."""
    wrong = [..., None, True, 0, -1, 2**32, 10**30, 0.5, -0.0, 1e308, float("nan"), "", "0" * 32]
    wrong += ["\ud800", "\0", "x" * 10**4, "²", [], [[]], {}, {"a": []}, [["public", "u4", [1]]]]
    data = saved()[name]
    header = json_of(data)
    rest = data[HEAD.size + HEAD.unpack_from(data)[2] : -32]
    places = [(key,) for key in header]
    places += [(key, each) for key in ("parameters", "seeds") for each in header.get(key, ())]
    for *outer, last in places:
        for value in wrong:
            forged = json.loads(json.dumps(header))
            inner = forged[outer[0]] if outer else forged
            inner.pop(last) if value is ... else inner.update({last: value})
            text = json.dumps(forged).encode()
            body = HEAD.pack(data[:8], VERSION, len(text)) + text + rest
            try:
                found = load(name, resummed(body))
            except (SavedDataError, KeyMismatchError):
                continue
            assert name in ("public", "secret") or found.n_values <= found.span <= 512


def test_halves_that_do_not_belong_together_are_refused():
    other = Ckks(parameters(), "cpu", seed=3).serialize(secret_key=True)
    ternary = unpack(other, ("a secret key",), "test")[1]["secret"]
    with pytest.raises(KeyMismatchError, match="the public key is that of another secret key"):
        load("secret", changed(saved()["secret"], arrays={"secret": ternary}))
    ternary = unpack(saved()["secret"], ("a secret key",), "test")[1]["secret"].copy()
    ternary[7] = (ternary[7] + 2) % 3 - 1
    with pytest.raises(KeyMismatchError, match="another secret key"):
        load("secret", changed(saved()["secret"], arrays={"secret": ternary}))


@pytest.mark.parametrize(
    "power", ["0", "1", "2", "2048", "2049", "-1", "x", "²", "1" * 20, "03", "+3"]
)
def test_a_galois_key_of_no_automorphism_is_refused(power):
    data = saved()["public"]
    half = unpack(data, ("a public context",), "test")[1]["relin"]
    with pytest.raises(SavedDataError, match="'arrays'"):
        load("public", changed(data, arrays={power: half}))


@pytest.mark.parametrize("name", ["public", "secret"])
def test_keys_without_their_seeds_are_refused(name):
    data = saved()[name]
    seeds = json_of(data)["seeds"]
    for which in seeds:
        for wrong in ("", "00" * 31, 5, None):
            with pytest.raises(SavedDataError, match="'seeds'"):
                load(name, changed(data, {"seeds": seeds | {which: wrong}}))
    with pytest.raises(SavedDataError, match="'key' is missing or wrong"):
        load(name, changed(data, {"seeds": seeds | {"public": "00" * 32}}))
    with pytest.raises(SavedDataError, match="'seeds'"):
        load(name, changed(data, {"seeds": None}))
    if name == "secret":
        for wrong in (-1, 1, 1.5, None, 2**60):  # of public_queries=0
            with pytest.raises(SavedDataError, match="'published'"):
                load(name, changed(data, {"published": wrong}))


def test_a_header_gives_only_what_it_has():
    header = Header({"a": 1, "b": "x"}, "f")
    assert (header.integer("a", 1, 1), header.text("b"), header.get("a", int)) == (1, "x", 1)
    with pytest.raises(SavedDataError, match="f: the header's 'c' is missing or wrong"):
        header.text("c")
