import gzip
import struct

import numpy as np
import pytest

from rollingq.data.prepare.source import BadFileError
from rollingq.data.raw import idx
from rollingq.data.raw.idx import read_idx


def encoded(array: np.ndarray, code: int = 8) -> bytes:
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 5, 4)).astype(np.uint8)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_plain_and_packed_files_give_the_same_array(images, tmp_path, pack):
    file = tmp_path / "images"
    file.write_bytes(pack(encoded(images)))
    np.testing.assert_array_equal(read_idx(file), images)
    assert read_idx(file).dtype == np.uint8


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :]


def announcing(data: bytes, *sizes: int) -> bytes:
    return data[:4] + struct.pack(f">{len(sizes)}I", *sizes) + data[4 + 4 * len(sizes) :]


DAMAGES = {
    "no bytes": (lambda data: b"", "the file is empty"),
    "a web page": (lambda data: b"<html>not found</html>", "begins with 000008, got 3c68746d"),
    "one byte": (lambda data: data[:1], "begins with 000008, got 00$"),
    "a Git LFS pointer": (lambda data: b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
    "32 bit numbers": (lambda data: flipped(data, 2), "begins with 000008, got 00001803"),
    "no axes": (lambda data: bytes(8), "begins with 000008, got 00000000"),
    "header cut": (lambda data: data[:9], "expected the sizes of 3 axes, got 5 bytes"),
    "data cut": (lambda data: data[:-3], "expected the announced 140 bytes of 7x5x4, got 137"),
    "trailing byte": (lambda data: data + b"x", "expected the announced 140 bytes of 7x5x4, got more"),
    "nothing in it": (lambda data: announcing(data, 0, 5, 4), "got the sizes 0x5x4"),
    "huge": (lambda data: announcing(data, 2**31, 2**31, 2**31), "expected 1 to 1073741824 bytes, got the sizes 2147"),
    "packed and cut": (lambda data: gzip.compress(data)[:-9], r"unreadable idx file \(EOFError"),
    "packed and flipped": (lambda data: flipped(gzip.compress(data), 60), "unreadable idx file"),
    "wrong checksum": (lambda data: flipped(gzip.compress(data), -6), r"unreadable idx file \(BadGzipFile: CRC"),
    "packed and more": (lambda data: gzip.compress(data + b"x"), "expected the announced 140 bytes of 7x5x4, got more"),
    "two members": (lambda data: gzip.compress(data) * 2, "got more"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line(images, tmp_path, damage):
    spoil, reason = DAMAGES[damage]
    file = tmp_path / "images"
    file.write_bytes(spoil(encoded(images)))
    with pytest.raises(BadFileError, match=reason) as caught:
        read_idx(file)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_no_flipped_bit_of_a_packed_file_gives_another_array(images, tmp_path):
    file = tmp_path / "images"
    packed = gzip.compress(encoded(images), mtime=0)
    refused = 0
    for at in range(len(packed)):
        file.write_bytes(flipped(packed, at))
        try:
            np.testing.assert_array_equal(read_idx(file), images)
        except BadFileError:
            refused += 1
    assert refused > 0.9 * len(packed)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path, reason in ((tmp_path / "none", "the file is missing"), (tmp_path, "expected a file, got a folder")):
        with pytest.raises(BadFileError, match=reason):
            read_idx(path)


def test_no_more_is_unpacked_than_announced(images, tmp_path, monkeypatch):
    asked = []

    class Watched(gzip.GzipFile):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    monkeypatch.setattr(idx.gzip, "open", lambda path, mode: Watched(path, mode))
    file = tmp_path / "bomb"
    file.write_bytes(gzip.compress(encoded(images) + bytes(2**24)))
    with pytest.raises(BadFileError, match="got more"):
        read_idx(file)
    assert asked == [4, 12, 141]
