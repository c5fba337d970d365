import copyreg
import io
import os
import pickle
import random
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from made_pickles import python2

from rollingq.data.prepare.source import BadFileError
from rollingq.data.raw.pickles import load_arrays, load_npy

FOREIGN = {
    "os": "system popen remove",
    "posix": "system",
    "nt": "system",
    "pty": "spawn",
    "subprocess": "Popen call check_output",
    "builtins": "eval exec getattr setattr __import__ open compile map bytearray object set dict",
    "__builtin__": "eval apply getattr file",
    "importlib": "import_module",
    "runpy": "run_path",
    "torch": "load",
    "torch.hub": "load",
    "torch._utils": "_rebuild_tensor_v2",
    "functools": "partial reduce",
    "operator": "methodcaller attrgetter itemgetter",
    "numpy.f2py.crackfortran": "myeval",
    "numpy.testing._private.utils": "runstring",
    "numpy": "load fromfile memmap save matrix ndarray.tofile",
    "numpy.core.multiarray": "fromfile _reconstruct.__globals__",
    "numpy._core.multiarray": "frombuffer",
    "numpy.ma.core": "_mareconstruct",
    "numpy.core.records": "recarray",
    "pickle": "loads",
    "_pickle": "loads",
    "copyreg": "_reconstructor __newobj__",
    "copy_reg": "_reconstructor",
    "types": "FunctionType CodeType",
    "ctypes": "CDLL",
    "shutil": "rmtree",
    "pathlib": "Path",
    "webbrowser": "open",
    "socket": "socket",
    "code": "interact",
    "codecs": "encode decode",
    "_codecs": "decode",
    "collections": "defaultdict Counter",
    "pandas": "read_pickle",
    "joblib": "load",
    "sys": "modules",
}
FORMS = ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "BUILD", "in a list of a dict")
DTYPE = b"cnumpy\ndtype\n(S'%s'\nI0\nI1\ntR"
FLOAT32 = DTYPE % b"f4" + b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
OBJECT = DTYPE % b"O8" + b"(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb"
FIELDS = DTYPE % b"f4" + b"(I3\nS'<'\nN(S'a'\nt(dI4\nI1\nI0\ntb"
SUBTYPE = DTYPE % b"f4" + b"(I3\nS'<'\n(I1\nI2\ntNNI4\nI1\nI0\ntb"
EMPTY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
FOUR = b"I0\nS'abcd'\ntb"
BUFFER = b"cnumpy._core.numeric\n_frombuffer\n"


def in_file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "data.pkl"
    path.write_bytes(data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BadFileError) as caught:
        load_arrays(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path.parent) not in text
    assert len(text) < 300
    return text


def by_name(module: str, name: str, argument: str, form: str) -> bytes:
    """Return a pickle that calls ``module.name(argument)``."""
    old = f"{module}\n{name}\n".encode()
    text = f"V{argument}\n".encode()
    new = b"".join(b"\x8c" + bytes([len(part)]) + part.encode() for part in (module, name))
    return {
        "GLOBAL": b"c" + old + b"(" + text + b"tR.",
        "STACK_GLOBAL": b"\x80\x04" + new + b"\x93" + text + b"\x85R.",
        "INST": b"(" + text + b"i" + old + b".",
        "OBJ": b"(c" + old + text + b"o.",
        "NEWOBJ": b"\x80\x02c" + old + text + b"\x85\x81.",
        "BUILD": b"c" + old + b"}" + text + b"Nsb.",
        "in a list of a dict": b"}V1\n(lc" + old + b"(" + text + b"tRas.",
    }[form]


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in FOREIGN.items() for name in names.split()]
)
def test_a_foreign_name_is_refused_by_name_and_nothing_runs(tmp_path, module, name):
    marker = tmp_path / "ran"
    for form in FORMS:
        text = refusal(in_file(tmp_path, by_name(module, name, f"touch {marker}", form)))
        assert text == f"refused {module}.{name}: only NumPy arrays are unpickled"
    assert not marker.exists()


class Command:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_that_python_would_run_does_not_run_in_any_protocol(tmp_path, protocol):
    marker = tmp_path / "ran"
    payload = pickle.dumps({"train": [np.zeros(3), Command(f"touch {marker}")]}, protocol)
    text = refusal(in_file(tmp_path, payload))
    assert text == f"refused {os.system.__module__}.system: only NumPy arrays are unpickled"
    assert not marker.exists()
    pickle.loads(payload)  # noqa: S301  # The payload is live, so that the test can fail.
    assert marker.exists()


def test_a_registered_extension_code_is_refused(tmp_path):
    copyreg.add_extension("os", "system", 250)
    try:
        payload = b"\x80\x02\x82\xfa" + f"Vtouch {tmp_path / 'ran'}\n".encode() + b"\x85R."
        assert refusal(in_file(tmp_path, payload)).startswith("refused an instruction for other objects")
    finally:
        copyreg.remove_extension("os", "system", 250)
    assert not (tmp_path / "ran").exists()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(1))
    return file.getvalue()


def npy(array: np.ndarray, **options: bool) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


BAD = {
    # Names that are allowed, put to other uses.
    "array with a shape": (EMPTY.replace(b"I0", b"I9", 1) + b".", "one whole object"),
    "array of a class made by call": (b"cnumpy\nndarray\n(I9\ntR.", "not callable"),
    "array by NEWOBJ": (b"cnumpy\nndarray\n(I9\nt\x81.", "refused an instruction"),
    "array by NEWOBJ_EX": (b"cnumpy\nndarray\n(I9\nt}\x92.", "refused an instruction"),
    "array by OBJ": (b"(cnumpy\nndarray\nI9\no.", "refused an instruction"),
    "array by INST": (b"(I9\ninumpy\nndarray\n.", "damaged pickle"),
    "type by NEWOBJ": (b"cnumpy\ndtype\n(S'f4'\nt\x81.", "refused an instruction"),
    "encode by another codec": (b"c_codecs\nencode\n(Vabc\nVrot13\ntR.", "refused to encode as 'rot13'"),
    "encode by unicode_escape": (b"c_codecs\nencode\n(Vabc\nVunicode_escape\ntR.", "as 'unicode_escape'"),
    "encode by a text in lines": (b"c_codecs\nencode\n(Vabc\nVa\\u000ab\ntR.", "encode as 'a\\nb'"),
    "encode without codec": (b"c_codecs\nencode\n(Vabc\ntR.", "TypeError"),
    "encode a number": (b"c_codecs\nencode\n(I7\nVlatin1\ntR.", "TypeError"),
    "encode with errors": (b"c_codecs\nencode\n(Vabc\nVlatin1\nVignore\ntR.", "TypeError"),
    "encode more than Latin-1": (b"c_codecs\nencode\n(V\\u20ac\nVlatin1\ntR.", "UnicodeEncodeError"),
    "bytes of a size": (b"cbuiltins\nbytes\n(I99999999\ntR.", "TypeError"),
    "set of a text": (b"cbuiltins\nset\n(Vabc\ntR.", "refused builtins.set"),
    "structured type": (DTYPE % b"V8" + b".", "expected numbers or text, got the type 'V8'"),
    "type of several": (DTYPE % b"f4,f4" + b".", "got the type 'f4,f4'"),
    "type of many": (DTYPE % b"(99999,)f4" + b".", "expected numbers or text"),
    "type of dates": (DTYPE % b"M8[s]" + b".", "expected numbers or text"),
    "type of no bytes": (DTYPE % b"S0" + b".", "got the type 'S0'"),
    "unknown width": (DTYPE % b"f7" + b".", "damaged pickle"),
    "type of a list": (b"cnumpy\ndtype\n((lI0\nI1\ntR.", "TypeError"),
    "type of an odd order": (DTYPE % b"f4" + b"(I3\nS'?'\nNNNI4\nI1\nI0\ntb.", "byteorder not recognized"),
    "type of a short state": (DTYPE % b"f4" + b"(I3\ntb.", "IndexError"),
    "state of a list": (b"(l}b.", "refused to set the state of list"),
    "state of a dict": (b"(d(lb.", "refused to set the state of dict"),
    "state of a known name": (b"c_codecs\nencode\n(dS'name'\nS'dtype'\nsb.", "refused to set the state of method"),
    "slots of a known name": (b"cbuiltins\nbytes\n(N(dS'__defaults__'\n(I1\ntstb.", "the state of function"),
    "array that is no tuple": (EMPTY + b"(db.", "ValueError"),
    "array of no type": (EMPTY + b"(I1\n(I1\ntN" + FOUR + b".", "AttributeError"),
    "array of a scalar's type": (
        EMPTY + b"(I1\n(I1\ntcnumpy.core.multiarray\nscalar\n(" + FLOAT32 + b"S'abcd'\ntR" + FOUR + b".",
        "expected the type, shape and content",
    ),
    "array filled twice": (EMPTY + 2 * (b"(I1\n(I1\nt" + FLOAT32 + FOUR) + b".", "the state of ndarray"),
    "array never filled": (EMPTY + b".", "one whole object"),
    "array never filled in a list": (b"]" + EMPTY + b"a.", "one whole object"),
    "array with too little": (EMPTY + b"(I1\n(I2\nt" + FLOAT32 + FOUR + b".", "expected 8 bytes or objects"),
    "array with too much": (EMPTY + b"(I1\n(I1\nt" + FLOAT32 + b"I0\nS'abcde'\ntb.", "for an array, got 5"),
    "array of a negative size": (EMPTY + b"(I1\n(I-1\nt" + FLOAT32 + FOUR + b".", "type, shape and content"),
    "array of two negative sizes": (EMPTY + b"(I1\n(I-1\nI-1\nt" + FLOAT32 + FOUR + b".", "type, shape and content"),
    "array of a huge size": (EMPTY + b"(I1\n(L%d\nt" % 2**62 + FLOAT32 + FOUR + b".", "for an array, got 4"),
    "array of huge sizes and 0": (
        EMPTY + b"(I1\n(L%d\nL%d\nI0\nt" % (2**62, 2**62) + FLOAT32 + b"I0\nS''\ntb.", "damaged pickle"
    ),
    "array of text for a size": (EMPTY + b"(I1\n(S'1'\nt" + FLOAT32 + FOUR + b".", "TypeError"),
    "array of a fraction for a size": (EMPTY + b"(I1\n(F1.0\nt" + FLOAT32 + FOUR + b".", "TypeError"),
    "array of a number": (EMPTY + b"(I1\n(I1\nt" + FLOAT32 + b"I0\nI7\ntb.", "type, shape and content"),
    "array of 99 axes": (EMPTY + b"(I1\n(" + b"I1\n" * 99 + b"t" + FLOAT32 + FOUR + b".", "damaged pickle"),
    "array of an old form": (EMPTY + b"((I1\nt" + FLOAT32 + FOUR + b".", "ValueError"),
    "array whose text is none": (
        EMPTY + b"(I1\n(I1\nt" + DTYPE % b"U1" + b"I0\nS'\\xff\\xff\\xff\\xff'\ntb.", "damaged pickle"
    ),
    "objects of a huge size": (EMPTY + b"(I1\n(L%d\nt" % 2**40 + OBJECT + b"I0\n(ltb.", "expected 1099511627776 "),
    "objects from bytes": (EMPTY + b"(I1\n(I1\nt" + OBJECT + b"I0\nS'abcdefgh'\ntb.", "type, shape and content"),
    "array in itself": (EMPTY + b"p0\n(I1\n(I1\nt" + OBJECT + b"I0\n(lg0\natb.", "objects, got ndarray"),
    "array in an array": (
        EMPTY + b"(I1\n(I1\nt" + OBJECT + b"I0\n(l" + EMPTY + b"(I1\n(I0\nt" + OBJECT + b"I0\n(ltbatb.",
        "objects, got ndarray",
    ),
    "array put in an array": (
        EMPTY + b"p0\n(I1\n(I1\nt" + OBJECT + b"I0\n(lNatbI0\ng0\ns.",
        "doesn't apply to a 'numpy.ndarray' object",
    ),
    "arrays put in an array": (
        EMPTY + b"p0\n(I1\n(I1\nt" + OBJECT + b"I0\n(lNatb(I0\ng0\nu.",
        "doesn't apply to a 'numpy.ndarray' object",
    ),
    "scalar of an object": (b"cnumpy.core.multiarray\nscalar\n(" + OBJECT + b"S'abcdefgh'\ntR.", "damaged pickle"),
    "scalar cut short": (b"cnumpy.core.multiarray\nscalar\n(" + FLOAT32 + b"S'abc'\ntR.", "expected 4 bytes"),
    "buffer of objects": (BUFFER + b"(C\x08abcdefgh" + OBJECT + b"(I1\ntS'C'\ntR.", "damaged pickle"),
    "buffer of a list of objects": (BUFFER + b"((lNa" + OBJECT + b"(I1\ntS'C'\ntR.", "damaged pickle"),
    "buffer of a foreign type": (BUFFER + b"(C\x04abcdI1\n(I1\ntS'C'\ntR.", "AttributeError"),
    "buffer of wrong axes": (BUFFER + b"(C\x04abcd" + FLOAT32 + b"(I1\ntS'K'\n(I5\nttR.", "damaged pickle"),
    "call of a text": (b"S'os.system'\n(S'ls'\ntR.", "not callable"),
    "call without a tuple": (b"c_codecs\nencode\n(lR.", "TypeError"),
    # Instructions that nothing here needs.
    "persistent id": (b"P7\n.", "refused an instruction"),
    "binary persistent id": (b"\x80\x02K\x07Q.", "refused an instruction"),
    "extension 1": (b"\x82\x07.", "refused an instruction"),
    "extension 2": (b"\x83\x00\x01.", "refused an instruction"),
    "extension 4": (b"\x84\x00\x00\x01\x00.", "refused an instruction"),
    "buffer out of band": (b"\x80\x05\x97.", "out-of-band"),
    "view of bytes": (b"\x80\x05\x96" + struct.pack("<Q", 1) + b"a\x98.", "refused an instruction"),
    "set": (b"\x80\x04\x8f(K\x01\x90.", "refused an instruction"),
    "elements of a list": (b"\x80\x04](K\x01\x90.", "refused an instruction"),
    "frozen set": (b"\x80\x04(K\x01\x91.", "refused an instruction"),
    "name of a number": (b"\x80\x04K\x01K\x02\x93.", "STACK_GLOBAL requires str"),
    # Bombs.
    "8-byte length": (b"\x8e" + struct.pack("<Q", 2**60) + b"abc.", f"expected {2**60} more bytes, got 4"),
    "text length": (b"X\xff\xff\xff\x7fabc.", "expected 2147483647 more bytes, got 4"),
    "text of 8-byte length": (b"\x8d" + struct.pack("<Q", 2**63) + b".", "damaged pickle"),
    "string length": (b"T\xff\xff\xff\xffabc.", "damaged pickle"),
    "bytes length": (b"B\xff\xff\xff\xffabc.", "expected 4294967295 more bytes, got 4"),
    "bytearray length": (b"\x96" + struct.pack("<Q", 2**31) + b".", f"expected {2**31} more bytes, got 1"),
    "number length": (b"\x8b\xff\xff\xff\x7f1.", "expected 2147483647 more bytes"),
    "frame length": (b"\x80\x04\x95\xff\xff", "expected 8 more bytes, got 2"),
    "many digits": (b"I" + b"9" * 5000 + b"\n.", "damaged pickle"),
    "one text encoded over and over": (
        b"X\x10\x27\x00\x00" + b"a" * 10000 + b"q\x000" + b"c_codecs\nencode\n(h\x00Vlatin1\ntR0" * 1000 + b"N.",
        "damaged pickle: it asks for more than",
    ),
    "one list as many arrays": (
        (b"(" + b"N" * 9999 + b"lq\x000" + OBJECT + b"q\x010")
        + (EMPTY + b"(I1\n(I9999\nth\x01I0\nh\x00tb") * 99 + b".",
        "it asks for more than",
    ),
    "one text turned over and over": (
        (b"B\x10\x27\x00\x00" + b"a" * 10000 + b"q\x000" + FLOAT32.replace(b"<", b">") + b"q\x010")
        + (EMPTY + b"(I1\n(I2500\nth\x01I0\nh\x00tb0") * 500 + b"N.",
        "it asks for more than",
    ),
    "key of a deep tuple": (b")" + b"\x85" * 60_000 + b"q\x000}h\x00Ns.", "text and numbers as keys"),
    "keys of a deep tuple": (b")" + b"\x85" * 60_000 + b"q\x000}(h\x00Nu.", "text and numbers as keys"),
    "dict of a deep tuple": (b")" + b"\x85" * 60_000 + b"q\x000(h\x00Nd.", "text and numbers as keys"),
    "set of a deep tuple": (b"\x8f()" + b"\x85" * 60_000 + b"\x90.", "refused an instruction"),
    "frozen set of a deep tuple": (b"()" + b"\x85" * 60_000 + b"\x91.", "refused an instruction"),
    "key of a list": (b"}(lNs.", "text and numbers as keys"),
    "only marks": (b"(" * 60_000 + b".", "damaged pickle"),
    # Damage.
    "no bytes": (b"", "empty"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "LFS"),
    "zip archive": (zipped(), "expected a pickle, got a zip archive"),
    ".npy": (npy(np.zeros(3)), "expected a pickle, got a .npy file"),
    "web page": (b"<!DOCTYPE html><html>Not found</html>", "expected a pickle, got HTML or XML"),
    "gzip": (b"\x1f\x8b\x08\x00abc", "expected a pickle, got gzip"),
    "HDF5": (b"\x89HDF\r\n\x1a\n", "expected a pickle, got HDF5"),
    "JSON": (b'{"train": []}', "damaged pickle"),
    "zeros": (bytes(100), "damaged pickle"),
    "protocol 9": (b"\x80\x09N.", "unsupported pickle protocol: 9"),
    "no end": (b"\x80\x02N", "expected 1 more bytes, got 0"),
    "no end of a line": (b"S'abc", "damaged pickle"),
    "no end of a number": (b"I123", "expected 1 more bytes, got 0"),
    "bytes after the end": (b"N.N.", "or bytes after its end"),
    "bytes after the end of a frame": (b"\x80\x04\x95" + struct.pack("<Q", 3) + b"N.N", "or bytes after its end"),
    "nothing on the stack": (b".", "damaged pickle"),
    "two objects": (b"NN.", "one whole object"),
    "open group": (b"N(N.", "one whole object"),
    "pop of nothing": (b"0.", "IndexError"),
    "tuple without mark": (b"Nt.", "IndexError"),
    "tuple of too few": (b"N\x86.", "IndexError"),
    "call of nothing": (b"R.", "IndexError"),
    "unknown memory": (b"g7\n.", "damaged pickle"),
    "append to a tuple": (b")Na.", "AttributeError"),
    "set items of a list": (b"]NNs.", "doesn't apply to a 'list' object"),
    "key without value": (b"}(Nu.", "ValueError"),
    "text without quotes": (b"Sabc\n.", "quoted"),
    "invalid UTF-8": (b"X\x02\x00\x00\x00\xff\xff.", "UnicodeDecodeError"),
    "number of letters": (b"Iabc\n.", "ValueError"),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_abuse_bombs_and_damage_are_refused_in_one_line_and_little_memory(tmp_path, bad):
    data, reason = BAD[bad]
    path = in_file(tmp_path, data)
    tracemalloc.start()
    try:
        text = refusal(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reason in text
    assert peak < 2**20 + 150 * len(data)


def is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return is_plain([*value, *value.values()])
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biufcSU" or is_plain(value.ravel().tolist())
    return value is None or isinstance(value, int | float | complex | str | bytes | bytearray | np.generic)


ODD = {
    "array of a foreign class": EMPTY.replace(b"ndarray", b"dtype") + b"(I1\n(I1\nt" + FLOAT32 + FOUR + b".",
    "array with a shape at first": EMPTY.replace(b"I0", b"I9", 1) + b"(I1\n(I1\nt" + FLOAT32 + FOUR + b".",
    "array of a type with fields": EMPTY + b"(I1\n(I1\nt" + FIELDS + FOUR + b".",
    "array of a type with a subtype": EMPTY + b"(I1\n(I1\nt" + SUBTYPE + FOUR + b".",
    "array of nothing and a huge size": EMPTY + b"(I1\n(L%d\nI0\nt" % 2**62 + FLOAT32 + b"I0\nS''\ntb.",
    "array of wide text and nothing": EMPTY + b"(I1\n(I0\nt" + DTYPE % b"U999999999" + b"I0\nS''\ntb.",
    "array with another version": EMPTY + b"((I1\n(I1\nt" + FLOAT32 + FOUR + b".",
    "text with an odd escape": b"S'\\q'\n.",
    "number in hexadecimal": b"I0x1f\n.",
    "frame longer than the file": b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.",
    "frame in a frame": b"\x80\x04\x95" + struct.pack("<Q", 11) + b"\x95" + struct.pack("<Q", 2) + b"N.",
    "class without a call": b"cnumpy\nndarray\n.",
}


@pytest.mark.parametrize("odd", ODD)
def test_what_python_never_writes_but_does_no_harm_is_refused_or_plain(tmp_path, odd):
    path = in_file(tmp_path, ODD[odd])
    tracemalloc.start()
    try:
        assert is_plain(load_arrays(path))
    except BadFileError as error:
        assert "\n" not in str(error)  # noqa: PT017
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2**20


def test_places_in_memory_far_apart_take_no_memory(tmp_path):
    path = in_file(tmp_path, b"Nr\xff\xff\xff\xffp1000000000000\n.")
    tracemalloc.start()
    try:
        assert load_arrays(path) is None
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "nothing.pkl", tmp_path):
        assert refusal(path)
        with pytest.raises(BadFileError):
            load_npy(path)


def sample() -> dict[str, object]:
    numbers = np.random.default_rng(0).normal(size=(4, 3, 2))
    return {
        "vision": numbers,
        "audio": numbers.astype(np.float32)[:, ::-1],
        "fortran": np.asfortranarray(numbers[0]),
        "axes": numbers.transpose(2, 0, 1),
        "foreign order": numbers.astype(">f8"),
        "id": np.array([[b"abc", "d\xe9", 1.5], [None, 2, "x"]], object),
        "texts": np.array(["a", "bcd"]),
        "bytes": np.array([b"a", b"bcd"]),
        "empty": np.zeros((0, 3)),
        "one": np.array(3.5),
        "scalar": np.float32(0.5),
        "flags": np.array([True, False]),
        "plain": [
            1,
            -70000,
            2**70,
            0.25,
            None,
            True,
            False,
            "d\xe9\n'\"",
            b"\xff\x00",
            b"",
            (),
            (1,),
            (1, 2, 3, 4),
            {},
        ],
        "long": ["x" * 300, b"y" * 300, list(range(300))],
        "ordered": OrderedDict(b=1, a=2),
    }


def assert_same(got: object, expected: object) -> None:
    if isinstance(expected, np.ndarray):
        assert isinstance(got, np.ndarray)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    elif isinstance(expected, dict):
        assert type(got) is dict
        assert list(got) == list(expected)
        for key, value in expected.items():
            assert_same(got[key], value)
    elif isinstance(expected, list | tuple):
        assert (type(got), len(got)) == (type(expected), len(expected))
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    else:
        assert (type(got), got) == (type(expected), expected)


@pytest.mark.parametrize("protocol", range(6))
def test_what_python_reads_is_read_alike_in_every_protocol(tmp_path, protocol):
    data = pickle.dumps(sample(), protocol)
    assert_same(load_arrays(in_file(tmp_path, data)), pickle.loads(data))  # noqa: S301


@pytest.mark.parametrize("protocol", [0, 2])
def test_pickles_of_python_2_are_read_as_latin_1(tmp_path, protocol):
    numbers = np.random.default_rng(0).normal(size=(5, 4, 3))
    content = {
        "train": {"vision": numbers, "audio": numbers.astype(np.float32), "labels": np.arange(5)},
        "id": np.array([["abc", "1.5"], ["d\xe9f'\\\n", "2"]], object),
        "texts": np.array([b"a", b"bcd"]),
        "plain": [1, -2, 0.5, None, ("x" * 300, "y")],
    }
    data = python2(content, protocol)
    got = load_arrays(in_file(tmp_path, data))
    assert_same(got, content)
    assert_same(got, pickle.loads(data, encoding="latin1"))  # noqa: S301


def test_an_array_made_once_and_named_twice_is_one_array(tmp_path):
    array = np.arange(3.0)
    got = load_arrays(in_file(tmp_path, pickle.dumps([array, array, array.copy()], 4)))
    assert got[0] is got[1]
    assert got[0] is not got[2]


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_cut_anywhere_is_refused(tmp_path, protocol):
    data = pickle.dumps({"train": {"vision": np.ones((2, 3)), "id": ["abc", b"d", 300]}}, protocol)
    for end in range(1, len(data), 3):
        refusal(in_file(tmp_path, data[:end]))


@pytest.mark.parametrize("protocol", range(6))
def test_flipped_bits_are_refused_or_change_values_but_never_crash_or_fill_memory(tmp_path, protocol):
    data = pickle.dumps(sample(), protocol)
    rng = random.Random(protocol)  # noqa: S311
    num_refused = 0
    tracemalloc.start()
    try:
        for _ in range(100):
            damaged = bytearray(data)
            for _ in range(rng.choice((1, 1, 3))):
                damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            path = in_file(tmp_path, damaged)
            try:
                assert is_plain(load_arrays(path))
            except BadFileError as error:
                num_refused += 1
                assert "\n" not in str(error)  # noqa: PT017
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()
    assert num_refused > 25


def test_a_very_deep_list_is_read_and_freed(tmp_path):
    got = load_arrays(in_file(tmp_path, b"]" * 60_000 + b"a" * 59_999 + b"."))
    assert len(got) == 1
    del got


@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3), np.array(2.5), np.zeros((0, 3)), np.array(["a", "bc"])]
)
def test_an_npy_file_is_mapped_and_read_only(tmp_path, array):
    path = tmp_path / "x.npy"
    path.write_bytes(npy(array))
    got = load_npy(path)
    np.testing.assert_array_equal(got, array)
    assert not got.flags.writeable


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


HEADER = npy(np.zeros((2, 3)))
NPY_BAD = {
    "cut": (HEADER[:-5], "unreadable .npy file"),
    "longer": (HEADER + b"abc", "expected 48 bytes of numbers, got 51"),
    "huge shape": (HEADER.replace(b"(2, 3)", b"(2, 3000000000)")[: len(HEADER)], "unreadable .npy file"),
    "header cut": (HEADER[:30], "unreadable .npy file"),
    "header of code": (HEADER.replace(b"(2, 3), }", b"exit(2) }"), "unreadable .npy file"),
    "objects": (npy(np.array([{}], object), allow_pickle=True), "unreadable .npy file"),
    "pickle": (pickle.dumps(np.zeros(3)), "unreadable .npy file"),
    "npz": (npz(), "an archive of several arrays"),
    "web page": (b"<html>Not found</html>", "unreadable .npy file"),
    "zip archive": (zipped(), "npz"),
    "no bytes": (b"", "empty"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
}


@pytest.mark.parametrize("bad", NPY_BAD)
def test_a_damaged_npy_file_is_refused_in_one_line(tmp_path, bad):
    path = tmp_path / "x.npy"
    path.write_bytes(NPY_BAD[bad][0])
    with pytest.raises(BadFileError, match=NPY_BAD[bad][1]) as caught:
        load_npy(path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
