"""What can go wrong with a raw file: the same damages for files of any kind, and those of one kind."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import av
import cv2
import numpy as np
import replicas
from scipy.io import savemat

Verdict = Literal["named", "same", "any"]
"""What may become of the clip: left out and named; that, or the very same sample; that, or any sample as planned."""
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n"
HTML = b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body>Not found</body></html>\n"


@dataclass(frozen=True)
class Damage:
    """One thing that is done to a file."""

    name: str
    verdict: Verdict
    do: Callable[[Path], None]


def rewritten(name: str, verdict: Verdict, change: Callable[[bytes], bytes]) -> Damage:
    return Damage(name, verdict, lambda path: _write(path, change(path.read_bytes())))


def replaced(name: str, data: bytes, verdict: Verdict = "named") -> Damage:
    return Damage(name, verdict, lambda path: _write(path, data))


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _flipped(data: bytes, place: str, seed: int) -> bytes:
    """Return the bytes with one bit changed: in the first 64, the last 64, or between."""
    rng = np.random.default_rng([seed, len(place)])
    head = min(64, len(data) // 3)
    low, high = {"header": (0, head), "middle": (head, len(data) - head), "end": (len(data) - head, len(data))}[place]
    changed = bytearray(data)
    changed[int(rng.integers(low, high))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _zeroed(data: bytes, start: float, share: float) -> bytes:
    begin, count = int(len(data) * start), max(1, int(len(data) * share))
    return data[:begin] + bytes(min(count, len(data) - begin)) + data[begin + count :]


def _as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _as_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone")


def jpg() -> bytes:
    return bytes(cv2.imencode(".jpg", next(replicas.pictures(1, 5)))[1])


def wav(**changes: int) -> bytes:
    """Return 2 s of a tone whose header lies: channels, rate, byte_rate, align, bits, tag, data, riff."""
    sound = (replicas.tone(2.0, 16000, 440.0) * 32767).astype("<i2").tobytes()
    fields = {"tag": 1, "channels": 1, "rate": 16000, "byte_rate": 32000, "align": 2, "bits": 16}
    sizes = {"data": len(sound), "riff": 36 + len(sound)}
    found = {**fields, **sizes, **changes}
    form = struct.pack("<HHIIHH", *(found[name] for name in fields))
    head = b"RIFF" + struct.pack("<I", found["riff"]) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", found["data"]) + sound


def common(wrong: bytes) -> list[Damage]:
    """Return the damages of any file.

    Args:
        wrong: A sound file of another kind.
    """
    cuts = [rewritten(f"cut at {s:.0%}", "same", lambda d, s=s: d[: max(1, int(len(d) * s))]) for s in CUTS]
    last = [rewritten(f"without its last {n} bytes", "same", lambda d, n=n: d[:-n]) for n in (1, 16)]
    flips = [
        rewritten(f"bit {seed} of the {place} flipped", "any", lambda d, p=place, s=seed: _flipped(d, p, s))
        for place in ("header", "middle", "end")
        for seed in range(4)
    ]
    zeros = [rewritten(f"{n:.0%} zeros at {s:.0%}", "any", lambda d, s=s, n=n: _zeroed(d, s, n)) for s, n in ZEROS]
    swapped = [replaced("empty", b""), replaced("Git LFS", LFS), replaced("HTML", HTML), replaced("wrong kind", wrong)]
    others = [replaced("zeros alone", bytes(5000)), replaced("noise", np.random.default_rng(1).bytes(5000))]
    places = [Damage("folder", "named", _as_folder), Damage("broken link", "named", _as_link)]
    return [*cuts, *last, *flips, *zeros, *swapped, *others, *places]


def allowing(found: list[Damage], *names: str) -> list[Damage]:
    """Return the damages where those that begin with a name may give a sample that is whole."""
    return [replace(d, verdict="any") if d.name.startswith(names) else d for d in found]


CUTS = (0.01, 0.1, 0.35, 0.6, 0.9, 0.98)
ZEROS = ((0.0, 0.02), (0.3, 0.05), (0.5, 0.3), (0.95, 0.05))


def _media(suffix: str, seconds: float, kind: str) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        made = path.with_name(f"made{suffix}")
        if kind == "no video":
            replicas.write_sound_only(made, seconds)
        else:
            replicas.write_video(made, seconds, hertz={"no sound": None, "silent": 0.0}.get(kind, 440.0))
        made.replace(path)

    return do


def _boxes(data: bytes, left_out: bytes) -> bytes:
    """Return an MP4 file without one of its top boxes."""
    at, kept = 0, b""
    while at < len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        kept += b"" if name == left_out else data[at : at + size]
        at += size
    return kept


def video_damages(suffix: str, *, needs_sound: bool) -> list[Damage]:
    """Return the damages of a video alone."""
    found = [Damage("no video", "named", _media(suffix, 2.0, "no video"))]
    if needs_sound:
        found += [
            Damage("no sound", "named", _media(suffix, 2.0, "no sound")),
            Damage("silent", "named", _media(suffix, 2.0, "silent")),
        ]
    if suffix == ".mp4":
        found += [
            rewritten(f"no {b.decode()}", "named", lambda d, b=b: _boxes(d, b)) for b in (b"moov", b"mdat", b"ftyp")
        ]
        found[-1] = Damage("no ftyp", "same", found[-1].do)
    return [*found, Damage("no frames", "named", _no_frames(suffix))]


def _no_frames(suffix: str) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        made = path.with_name(f"made{suffix}")
        codec, _, _ = replicas.CODECS[suffix]
        with av.open(str(made), "w") as container:
            container.add_stream(codec, rate=5, width=64, height=48, pix_fmt="yuv420p")
            container.start_encoding()
        made.replace(path)

    return do


def wav_damages() -> list[Damage]:
    """Return the lies that a WAV header can tell, and sound that is none."""
    lies: dict[str, dict[str, int]] = {
        "no channels": {"channels": 0},
        "no rate": {"rate": 0, "byte_rate": 0},
        "no bits": {"bits": 0},
        "12 bits": {"bits": 12},
        "more data than there is": {"data": 200_000, "riff": 200_036},
        "4 GB of data": {"data": 2**31 - 1, "riff": 2**31},
        "no data": {"data": 0, "riff": 36},
        "another coding": {"tag": 0x55},
        "an unknown coding": {"tag": 0x7777},
    }
    silent = b"".join([wav()[:44], bytes(64000)])
    floats = np.full(16000, np.nan, "<f4").tobytes()
    nan = wav(tag=3, bits=32, align=4, byte_rate=64000, data=len(floats), riff=36 + len(floats))[:44] + floats
    found = [replaced(name, wav(**lie), "any" if name in MAY_BE_READ else "named") for name, lie in lies.items()]
    less = replaced("less data than there is", wav(data=20_000))
    return [*found, less, replaced("silent", silent), replaced("NaN", nan), replaced("no data part", wav()[:36])]


MAY_BE_READ = {"12 bits", "4 GB of data", "no data"}
"""Lies of a WAV header that may give a sample: programs that write into a pipe do not know the length."""


class Payload:
    """Makes a file when it is unpickled the usual way."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.marker),)


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npy_damages(marker: Path) -> list[Damage]:
    """Return arrays that are no tokens of five features."""
    archive = io.BytesIO()
    np.savez(archive, motion=np.zeros((4, 5)))
    numbers = np.ones((4, 5), np.float32)
    arrays: dict[str, Any] = {
        "objects": np.array([[Payload(marker)] * 5], object),
        "other width": np.ones((4, 6), np.float32),
        "three axes": np.ones((1, 4, 5), np.float32),
        "no axis": np.float32(1),
        "no steps": np.ones((0, 5), np.float32),
        "NaN": numbers * np.nan,
        "infinite": numbers * np.inf,
        "too large": np.full((4, 5), 1e300),
        "complex": numbers * 1j,
        "text": np.full((4, 5), "one"),
        "times": np.zeros((4, 5), "datetime64[s]"),
        "fields": np.zeros((4, 5), [("a", "f4")]),
    }
    lie = npy(numbers).replace(b"(4, 5)", b"(9, 5)")
    huge = npy(numbers).replace(b"(4, 5), }      ", b"(99999999, 5),}")
    code = npy(numbers).replace(b"{'descr'", b"{exit() ")
    files = {"more steps than there are": lie, "2 GB": huge, "code as header": code, "archive": archive.getvalue()}
    files |= {
        "pickle": pickle.dumps(Payload(marker)),
        "zip": zip_of("a.txt", b"text"),
        "longer": npy(numbers) + b"1234",
    }
    return [replaced(name, data) for name, data in ({name: npy(a) for name, a in arrays.items()} | files).items()]


def zip_of(name: str, data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, data)
    return stream.getvalue()


def csv_damages() -> list[Damage]:
    """Return tables that are no numbers in three columns."""
    files = {
        "NUL": b"1,2,3\n4,\x00,6\n",
        "UTF-16": "1,2,3\n4,5,6\n".encode("utf-16"),
        "Latin-1": "1,2,3\n4,\xfc,6\n".encode("latin-1"),
        "ragged": b"1,2,3\n4,5\n",
        "other width": b"1,2\n3,4\n",
        "header alone": b"a,b,c\n",
        "words": b"1,2,3\n4,five,6\n",
        "empty cell": b"1,2,3\n4,,6\n",
        "NaN": b"1,2,3\n4,nan,6\n",
        "infinite": b"1,2,3\n4,1e999,6\n",
        "too large": b"1,2,3\n4,1e300,6\n",
        "open quote": b'1,2,3\n"4,5,6\n',
        "semicolons": b"1;2;3\n4;5;6\n",
    }
    return [replaced(name, data) for name, data in files.items()]


def mat(**variables: Any) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables)
    return stream.getvalue()


def mat_damages(variable: str, array: np.ndarray) -> list[Damage]:
    """Return MATLAB files that do not hold the variable as it should be."""
    cell = np.empty((2, 2), object)
    cell[:] = 1.0
    wrong: dict[str, Any] = {
        "text": "hello",
        "cell": cell,
        "struct": {"a": 1.0},
        "complex": array * 1j,
        "one number": 1.0,
        "one step": array[:1] if array.ndim == 2 else array[..., :1],
        "no step": array[:0] if array.ndim == 2 else array[..., :0],
        "one axis more": array[..., None, None] * np.ones(2),
        "constant": np.zeros_like(array),
        "NaN": array * np.nan,
        "too large": array + 1e9,
    }
    files = {name: mat(**{variable: value}) for name, value in wrong.items()}
    files |= {
        "other variable": mat(other=array),
        "no variable": mat(),
        "version 7.3": b"\x89HDF\r\n\x1a\n" + bytes(2000),
    }
    return [replaced(name, data) for name, data in files.items()]


def jpg_damages() -> list[Damage]:
    """Return what is no JPEG image."""
    data = jpg()
    scan = data.index(b"\xff\xda")
    files = {
        "start and end alone": b"\xff\xd8\xff\xd9",
        "cut off and closed": data[: (scan + len(data)) // 2] + b"\xff\xd9",
        "no scan": data[:scan] + b"\xff\xd9",
        "no size": data.replace(struct.pack(">HH", 48, 64), bytes(4)),
        "GIF": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
        "TIFF": bytes(cv2.imencode(".tiff", np.zeros((8, 8, 3), np.uint8))[1]),
    }
    return [replaced(name, found) for name, found in files.items()]
