"""Decode one stream of a media file to its end, or say in one line what is wrong with the file."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rollingq.data.raw.containers import check_parts, states_length
from rollingq.data.raw.files import BadFileError
from rollingq.errors import MissingExtraError

if TYPE_CHECKING:
    from av.container import InputContainer

Kind = Literal["video", "audio"]
FORMATS = (
    "mov", "avi", "flv", "matroska", "webm", "wav", "w64", "aiff", "au", "caf", "flac", "mp3", "ogg", "aac", "asf",
    "mpeg", "mpegts", "mpegvideo", "m4v", "h264", "hevc", "dv", "ivf",
)  # fmt: skip
"""FFmpeg's names of the containers that are read: no playlists, as they open other files and addresses."""
_STREAM_LENGTH = {"mov", "avi", "wav", "w64", "aiff", "flac"}
"""Containers that state the length of each stream."""
_FILE_LENGTH = {"flv", "matroska", "asf"}
"""Containers that state one length, that of the longest stream.

Ogg and MPEG streams state none: what FFmpeg tells of them is an estimate, and a cut between two packets stays unseen.
"""
_LEAST_MISSING, _MISSING_SHARE = 0.25, 0.05
"""Seconds and share that may be missing: a sound file's stream ends slightly before or after the stated time."""
_LEAST_LOST, _LOST_SHARE = 1, 0.005
"""Blocks and share of them that may give no packet, as of a stream of an unknown kind."""


class NoSoundError(BadFileError):
    """A file is sound, but holds no sound."""


@dataclass
class Decoder:
    """One stream of an open file; the others only tell how long the file is.

    Attributes:
        container: The open file.
        stream: What is decoded.
        is_stated: Whether the file states its length, and does not just let it be estimated.
        num_blocks: Blocks of packets that the file holds; 0 if unknown.
        stream_end: Where the decoded stream was found to end so far, in seconds from the file's beginning.
        file_end: The same of the longest stream.
        seconds: Sum of the lengths of the stream's frames so far.
        num_packets: Packets of the stream so far.
        num_frames: Frames of the stream so far.
        num_places: Places in the file that packets came from so far, of all streams.
        place: The last of them.
    """

    container: "InputContainer"
    stream: Any
    is_stated: bool
    num_blocks: int
    stream_end: float = 0.0
    file_end: float = 0.0
    seconds: float = 0.0
    num_packets: int = 0
    num_frames: int = 0
    num_places: int = 0
    place: int | None = None

    @property
    def announced(self) -> float:
        """Seconds that the file says the stream, or the file, lasts; 0 if it does not say."""
        if self._format in _STREAM_LENGTH and self.stream.duration:
            return max(0.0, float(self.stream.duration * self.stream.time_base))
        return max(0, self.container.duration or 0) / 1e6

    @cached_property
    def _format(self) -> str:
        return self.container.format.name.split(",")[0]

    @cached_property
    def _origin(self) -> float:
        return (self.container.start_time or 0) / 1e6

    @cached_property
    def _units(self) -> list[float]:
        """Seconds of one tick of each stream."""
        return [float(stream.time_base or 0) for stream in self.container.streams]

    def frames(self, until: float) -> Iterator[tuple[float, Any]]:
        """Yield each frame with its time in seconds from the file's beginning.

        Args:
            until: Seconds that the file has to last at least; 0 for as long as it says.

        Raises:
            BadFileError: If the stream cannot be decoded to its end, or ends too early.
        """
        with reasons("damaged"):
            for packet in self.container.demux():
                yield from self._decode(packet)
        if not self.num_frames:
            raise BadFileError(f"expected {self.stream.type} frames, got none")
        self._check_places()
        self._check_length(until)

    def _decode(self, packet: Any) -> Iterator[tuple[float, Any]]:  # noqa: ANN401
        self._note_end(packet)
        self._note_place(packet)
        self._check_flag(packet)
        if packet.stream_index != self.stream.index:
            return
        self.num_packets += packet.size > 0
        for frame in packet.decode():
            self._check_flag(frame)
            time = self.stream_end if frame.time is None else float(frame.time) - self._origin
            seconds = self._seconds(frame)
            self.stream_end = max(self.stream_end, time + seconds)
            self.seconds += seconds
            self.num_frames += 1
            yield time, frame

    def _check_flag(self, part: Any) -> None:  # noqa: ANN401
        # The last part of a WAV of unknown length always has the flag; a cut WAV is found by its header.
        if part.is_corrupt and self._format != "wav":
            raise BadFileError(f"damaged after {self.stream_end:.2f} s (a cut or corrupt part)")

    def _note_end(self, packet: Any) -> None:  # noqa: ANN401
        begin = packet.dts if packet.pts is None else packet.pts
        if begin is not None:
            end = (begin + (packet.duration or 0)) * self._units[packet.stream_index] - self._origin
            if end <= self._latest:  # A later time is damaged: it does not say where the file ends.
                self.file_end = max(self.file_end, end)

    def _note_place(self, packet: Any) -> None:  # noqa: ANN401
        # A block of Matroska that cannot be read makes FFmpeg leave out all up to the next cluster, without a word.
        if self.num_blocks and packet.pos not in (None, self.place):
            self.place, self.num_places = packet.pos, self.num_places + 1

    @cached_property
    def _latest(self) -> float:
        stated = self.announced
        return stated + _allowed(stated) if self.is_stated and stated else math.inf

    def _seconds(self, frame: Any) -> float:  # noqa: ANN401
        if self.stream.type == "audio":
            return float(frame.samples / frame.sample_rate)
        if frame.duration:
            return float(frame.duration * self._units[self.stream.index])
        return self.frame_seconds

    @property
    def frame_seconds(self) -> float:
        """Seconds that one frame of a video lasts, on average; 0 if unknown."""
        rate = self.stream.average_rate if self.stream.type == "video" else None
        return 1 / float(rate) if rate else 0.0

    def _check_length(self, until: float) -> None:
        stated = self.announced if self.is_stated else 0.0
        span = self.stream_end - self._stream_start
        total = self.seconds if self.stream.type == "audio" else span  # A video may show one frame for long.
        found = self.file_end if self._format in _FILE_LENGTH else total
        lost = max(0, self.stream.frames - self.num_packets) * self.frame_seconds
        for expected, got in ((stated, found), (stated, stated - lost), (span, total), (until, self.stream_end)):
            if expected - got > _allowed(expected):
                raise BadFileError(f"cut off: expected {expected:.2f} s of {self.stream.type}, got {got:.2f} s")

    def _check_places(self) -> None:
        lost = self.num_blocks - self.num_places
        if lost > max(_LEAST_LOST, _LOST_SHARE * self.num_blocks):
            raise BadFileError(f"damaged: {lost} of {self.num_blocks} blocks cannot be read")

    @property
    def _stream_start(self) -> float:
        start = self.stream.start_time
        return float(start * self.stream.time_base) - self._origin if start else 0.0


def _allowed(seconds: float) -> float:
    """Return how many of some seconds may be missing."""
    return max(_LEAST_MISSING, _MISSING_SHARE * seconds)


@contextmanager
def opened(path: Path, kind: Kind) -> Iterator[Decoder]:
    """Open a file for decoding its best stream of this kind with one thread.

    Raises:
        NoSoundError: If sound is asked for and the file has none.
        BadFileError: If the file is cut off, cannot be opened, or has no such stream.
        MissingExtraError: If PyAV is not installed.
    """
    av = _av()
    num_blocks = check_parts(path)
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
    with reasons(f"expected a file with {kind}, got one that cannot be opened"):
        container = av.open(f"file:{path}", container_options=options, metadata_errors="replace")
    with container:
        stream = _stream(container, kind)
        stream.codec_context.thread_count = 1
        name = container.format.name.split(",")[0]
        if name not in _FILE_LENGTH:
            _leave_out(container, stream)
        is_stated = name in _STREAM_LENGTH | _FILE_LENGTH or states_length(path)
        yield Decoder(container, stream, is_stated, num_blocks)


def _stream(container: "InputContainer", kind: Kind) -> Any:  # noqa: ANN401
    streams: list[Any] = list(container.streams.video if kind == "video" else container.streams.audio)
    streams = [stream for stream in streams if not int(stream.disposition) & _cover()]
    if not streams:
        raise NoSoundError("no sound") if kind == "audio" else BadFileError("no video in the file")
    best: Any = container.streams.best(kind)
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise BadFileError(f"expected {kind} in a known coding, got none")
    return stream


def _leave_out(container: "InputContainer", stream: Any) -> None:  # noqa: ANN401
    """Let the other streams' packets be skipped."""
    from av.stream import Discard

    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all


def _cover() -> int:
    from av.stream import Disposition

    return int(Disposition.attached_pic)


@contextmanager
def reasons(what: str) -> Iterator[None]:
    """Turn any error into a reason; damaged files make PyAV raise IndexError, PermissionError and so on."""
    try:
        yield
    except BadFileError:
        raise
    except Exception as error:
        text = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise BadFileError(f"{what} ({' '.join(str(text).split())[:80]})") from error


def _av() -> Any:  # noqa: ANN401
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("av", "lab") from error
    return av
