import os
import re
import struct
import sys
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from rollingq.data.prepare.source import BadFileError
from rollingq.data.raw import decoding, media
from rollingq.data.raw.decoding import NoSoundError
from rollingq.data.raw.files import check_file
from rollingq.data.raw.media import read_audio, read_frames
from rollingq.errors import DataError, MissingExtraError

HEIGHT, WIDTH, FPS = 48, 64, 10
SMALL = {"num_frames": 3, "height": 12, "width": 16}
FORMS = {
    "clip.mp4": ("libx264", "aac", 16_000),
    "clip.flv": ("flv1", "libmp3lame", 44_100),
    "clip.avi": ("mpeg4", "libmp3lame", 44_100),
    "clip.mkv": ("libx264", "aac", 16_000),
    "clip.webm": ("libvpx", "libopus", 48_000),
    "clip.mp3": (None, "libmp3lame", 44_100),
    "clip.flac": (None, "flac", 16_000),
    "silent.mp4": ("libx264", None, 0),
}


def level(index: int) -> int:
    return 20 + 2 * index


def tone(rate: int, seconds: float) -> np.ndarray:
    return (16_000 * np.sin(2 * np.pi * 440 * np.arange(round(rate * seconds)) / rate)).astype(np.int16)


def picture(index: int) -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), level(index), np.uint8)


def encode(path: Path, video="libx264", audio=None, rate=16_000, seconds=3.0, sound=None, image=picture) -> Path:
    """Write a video whose frames get brighter one by one, and a tone of 440 Hz."""
    sound = seconds if sound is None else sound
    options = {"libx264": {"qp": "0"}, "mpeg4": {"qmin": "1", "qmax": "1"}, "flv1": {"qmin": "1", "qmax": "1"}}
    with av.open(str(path), "w", options={"movflags": "+faststart"} if path.suffix == ".mp4" else {}) as out:
        streams = {}
        if video:
            streams["video"] = out.add_stream(video, rate=FPS, options=options.get(video, {}))
            streams["video"].width, streams["video"].height, streams["video"].pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if audio:
            streams["audio"] = out.add_stream(audio, rate=rate, layout="mono")
        samples, per_frame = tone(rate, sound), rate // FPS
        for index in range(round(max(seconds, sound) * FPS)):
            block = samples[index * per_frame : (index + 1) * per_frame]
            if video and index < round(seconds * FPS):
                frame = av.VideoFrame.from_ndarray(image(index), "rgb24")
                frame.pts, frame.time_base = index, Fraction(1, FPS)
                out.mux(streams["video"].encode(frame))
            if audio and block.size:
                frame = av.AudioFrame.from_ndarray(block[None], "s16", "mono")
                frame.sample_rate, frame.pts, frame.time_base = rate, index * per_frame, Fraction(1, rate)
                out.mux(streams["audio"].encode(frame))
        for stream in streams.values():
            out.mux(stream.encode(None))
    return path


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    samples = np.atleast_2d(samples.T).T
    with wave.open(str(path), "wb") as file:
        file.setparams((samples.shape[1], samples.dtype.itemsize, rate, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("media")
    return {name: encode(folder / name, *form) for name, form in FORMS.items()}


def reason(function, *arguments, **options) -> str:
    with pytest.raises(BadFileError) as caught:
        function(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert str(next(a for a in arguments if isinstance(a, Path)).parent) not in text
    return text


def expected_frames(num_frames, frames_per_second=1.0, start=0.0, end=3.0, fps=FPS, seconds=3.0) -> list[int]:
    """Go through all frames by the rule, in whole milliseconds."""
    candidates, due = [], 0
    for index in range(round(seconds * fps)):
        time = index * 1000 // fps
        if time >= start * 1000 + due * 1000 / frames_per_second and time < end * 1000:
            candidates.append(index)
            while start * 1000 + due * 1000 / frames_per_second <= time:
                due += 1
    return [candidates[int((i + 0.5) * len(candidates) / num_frames)] for i in range(num_frames)]


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form[0]])
def test_the_frames_of_the_rule_are_taken_in_every_container(files, name):
    frames = read_frames(files[name], **SMALL)
    assert (frames.shape, frames.dtype, frames.flags.c_contiguous) == ((3, 3, 12, 16), np.uint8, True)
    with av.open(str(files[name])) as container:
        origin = container.start_time / 1e6
        decoded = [
            (frame.time - origin, frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)
        ]
    later = [[mean for time, mean in decoded if time >= second - 1e-6] for second in range(4)]
    candidates = [means[0] for means in later if means]
    expected = [candidates[int((i + 0.5) * len(candidates) / 3)] for i in range(3)]
    np.testing.assert_allclose(frames.mean((1, 2, 3)), expected, atol=1.5)


@pytest.mark.parametrize(
    "options",
    [
        {"num_frames": 1},
        {"num_frames": 5},
        {"num_frames": 4, "frames_per_second": 4.0},
        {"num_frames": 4, "frames_per_second": 3.0},
        {"num_frames": 2, "start": 1.05},
        {"num_frames": 3, "start": 0.5, "end": 1.4, "frames_per_second": 5.0},
        {"num_frames": 31, "frames_per_second": 100.0},
        {"num_frames": 2, "end": 1.0, "frames_per_second": 10.0},
    ],
    ids=str,
)
def test_candidates_follow_start_end_and_rate(files, options):
    frames = read_frames(files["silent.mp4"], height=8, width=8, gray=True, **options)
    assert frames.shape == (options["num_frames"], 8, 8)
    np.testing.assert_allclose(frames.mean((1, 2)), [level(i) for i in expected_frames(**options)], atol=1.5)


def test_a_wrong_guess_of_the_length_costs_a_second_pass_and_no_frame(tmp_path, monkeypatch):
    path = encode(tmp_path / "long_sound.mkv", "libx264", "aac", seconds=2.0, sound=4.0)
    passes = []
    real = media.opened
    monkeypatch.setattr(media, "opened", lambda *arguments: passes.append(1) or real(*arguments))
    frames = read_frames(path, **SMALL)
    assert len(passes) == 2
    expected = [level(i) for i in expected_frames(3, seconds=2.0)]
    np.testing.assert_allclose(frames.mean((1, 2, 3)), expected, atol=3)


def test_only_taken_frames_are_converted(tmp_path, monkeypatch):
    path = encode(tmp_path / "long.mp4", seconds=20.0, image=lambda index: picture(index % 100))
    converted = []
    real = media._Shrink.__call__
    monkeypatch.setattr(media._Shrink, "__call__", lambda self, f: converted.append(1) or real(self, f))
    read_frames(path, frames_per_second=5.0, **SMALL)
    assert len(converted) <= 6


def test_frames_are_shrunk_by_area_in_colour(tmp_path):
    rng = np.random.default_rng(0)
    blocks = rng.integers(60, 200, (3, 4, 3))
    image = blocks.repeat(16, 0).repeat(16, 1)
    image[::2] += 40
    image[1::2] -= 40
    path = encode(tmp_path / "blocks.mp4", seconds=0.5, image=lambda _: image.astype(np.uint8))
    frames = read_frames(path, num_frames=1, height=3, width=4)
    np.testing.assert_allclose(frames[0], blocks.transpose(2, 0, 1), atol=6)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_rotated_video_is_read_upright(tmp_path, turns):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[: HEIGHT // 2, : WIDTH // 2] = 200
    path = encode(tmp_path / "rotated.mp4", seconds=0.5, image=lambda _: image)
    plain = read_frames(path, num_frames=1, height=HEIGHT, width=WIDTH, gray=True)[0]
    data = bytearray(path.read_bytes())
    cos, sin = {1: (0, -1), 2: (-1, 0), 3: (0, 1)}[turns]
    matrix = struct.pack(">9i", cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    begin = data.index(b"tkhd") + 4 + 40
    data[begin : begin + 36] = matrix
    path.write_bytes(data)
    size = (WIDTH, HEIGHT) if turns % 2 else (HEIGHT, WIDTH)
    upright = read_frames(path, num_frames=1, height=size[0], width=size[1], gray=True)[0]
    np.testing.assert_allclose(upright.astype(int), np.rot90(plain, turns), atol=2)


@pytest.mark.parametrize("kind", ["i2", "u1", "i4", "stereo"])
def test_a_wav_is_read_exactly(tmp_path, kind):
    rng = np.random.default_rng(1)
    dtype = {"stereo": "i2"}.get(kind, kind)
    limits = np.iinfo(dtype)
    samples = rng.integers(limits.min, limits.max, (3001, 2 if kind == "stereo" else 1), dtype, endpoint=True)
    found = read_audio(write_wav(tmp_path / "a.wav", samples), rate=16_000)
    zero, scale = (128, 128) if kind == "u1" else (0, -float(limits.min))
    expected = [sum((float(sample) - zero) / scale for sample in row) / len(row) for row in samples]
    assert (found.dtype, found.shape) == (np.float32, (3001,))
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (0.25, 0.0), (0.1, 0.9), (0.99995, 0.0)])
def test_start_and_end_cut_the_sound(tmp_path, start, end):
    samples = np.arange(-8000, 8000, dtype=np.int16)
    found = read_audio(write_wav(tmp_path / "a.wav", samples), rate=16_000, start=start, end=end)
    expected = samples[round(start * 16_000) : round(end * 16_000) if end else None] / 32768
    np.testing.assert_array_equal(found, expected.astype(np.float32))


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_resampling_keeps_a_tone_and_its_length(tmp_path, rate):
    found = read_audio(write_wav(tmp_path / "a.wav", tone(44_100, 2.0), 44_100), rate=rate)
    assert abs(len(found) - 2 * rate) <= 1
    time = np.arange(len(found)) / rate
    middle = slice(500, -500)
    np.testing.assert_allclose(
        found[middle], (16_000 / 32768 * np.sin(2 * np.pi * 440 * time))[middle], rtol=0, atol=2e-3
    )


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form[1]])
def test_sound_of_every_container(files, name):
    found = read_audio(files[name], rate=16_000)
    assert len(found) == pytest.approx(48_000, abs=1400)
    power = np.abs(np.fft.rfft(found[4000:44_000])) ** 2
    assert np.argmax(power) * 16_000 / 40_000 == pytest.approx(440, abs=1)
    assert np.sqrt(np.mean(found[4000:44_000] ** 2)) == pytest.approx(16_000 / 32768 / 2**0.5, rel=0.1)


def test_silence_is_sound_and_a_file_without_sound_is_named(files, tmp_path):
    silence = read_audio(write_wav(tmp_path / "a.wav", np.zeros(160, np.int16)), rate=16_000)
    np.testing.assert_array_equal(silence, np.zeros(160, np.float32))
    with pytest.raises(NoSoundError, match=r"^no sound$"):
        read_audio(files["silent.mp4"], rate=16_000)


def test_loud_sound_is_clipped_and_nan_is_named(tmp_path):
    from scipy.io import wavfile

    samples = np.linspace(-2, 2, 1000, dtype=np.float32)
    wavfile.write(tmp_path / "a.wav", 16_000, samples)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", rate=16_000), np.clip(samples, -1, 1))
    samples[[3, 5]] = np.nan, np.inf
    wavfile.write(tmp_path / "a.wav", 16_000, samples)
    assert reason(read_audio, tmp_path / "a.wav", rate=16_000) == "2 of 1000 samples are NaN or infinite"


def test_a_wav_cut_at_any_byte_is_named(tmp_path):
    data = write_wav(tmp_path / "a.wav", tone(16_000, 0.02)).read_bytes()
    path = tmp_path / "cut.wav"
    for length in [*range(1, 48), *range(48, len(data), 37), len(data) - 2, len(data) - 1]:
        path.write_bytes(data[:length])
        assert reason(read_audio, path, rate=16_000)
    assert reason(read_audio, path, rate=16_000) == f"cut off: expected {len(data)} bytes as its header says, got " + (
        f"{len(data) - 1}"
    )


def test_a_wav_from_a_pipe_has_no_known_length(tmp_path):
    data = bytearray(write_wav(tmp_path / "a.wav", tone(16_000, 0.5)).read_bytes())
    data[4:8] = data[40:44] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(data)
    assert read_audio(tmp_path / "a.wav", rate=16_000).shape == (8000,)


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data


def wave_of(data: bytes, stated: int, behind: bytes = b"") -> bytes:
    """Return 8-bit sound of 8 kHz whose data part says that it holds ``stated`` bytes."""
    form = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8))
    return chunk(b"RIFF", b"WAVE" + form + b"data" + struct.pack("<I", stated) + data + behind)


@pytest.mark.parametrize("stated", [1, 1000, 2999, 3000])
@pytest.mark.parametrize("kind", ["noise", "silence", "text"])
def test_a_wav_whose_header_leaves_sound_out_is_named(tmp_path, stated, kind):
    data = {"noise": np.random.default_rng(2).bytes(4000), "silence": b"\x80" * 4000, "text": b"LIST" * 1000}[kind]
    (tmp_path / "a.wav").write_bytes(wave_of(data, stated))
    text = reason(read_audio, tmp_path / "a.wav", rate=8000)
    assert text == f"expected {stated} bytes of data as the header says, got {4000 - stated} more that are no chunk"


@pytest.mark.parametrize("length", [2000, 2001])
@pytest.mark.parametrize("behind", ["", "notes", "notes without padding", "tag", "padding"])
def test_what_may_follow_the_sound_of_a_wav_is_allowed(tmp_path, length, behind):
    data, notes = np.random.default_rng(3).bytes(length), chunk(b"LIST", b"n" * 1000)
    padding = b"\0" * (length % 2)
    parts = {"": b"", "notes": padding + notes, "notes without padding": notes, "tag": b"TAG" + bytes(125)}
    tail = parts.get(behind, bytes(512))
    (tmp_path / "a.wav").write_bytes(wave_of(data, length, tail))
    expected = (np.frombuffer(data, np.uint8) / 128 - 1).astype(np.float32)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", rate=8000), expected)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.85])
def test_a_cut_file_is_named(files, tmp_path, name, share):
    path = tmp_path / name
    data = files[name].read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    if FORMS[name][0]:
        assert reason(read_frames, path, **SMALL)
    if FORMS[name][1]:
        assert reason(read_audio, path, rate=16_000)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.webm", "clip.flv"])
@pytest.mark.parametrize("lost", [1, 3, 20, 200, 1000])
def test_a_file_that_lacks_a_few_last_bytes_is_named(files, tmp_path, name, lost):
    data = files[name].read_bytes()
    (tmp_path / name).write_bytes(data[:-lost])
    if name == "clip.flv" and lost <= 4:  # These only repeat a length.
        np.testing.assert_array_equal(read_frames(tmp_path / name, **SMALL), read_frames(files[name], **SMALL))
    else:
        assert f"got {len(data) - lost}" in reason(read_frames, tmp_path / name, **SMALL)
        assert f"got {len(data) - lost}" in reason(read_audio, tmp_path / name, rate=16_000)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.webm", "clip.flv"])
@pytest.mark.parametrize(("begin", "share"), [(0.3, 0.1), (0.5, 0.3), (0.6, 0.2)])
@pytest.mark.parametrize("fill", ["zeros", "noise"])
def test_a_hole_is_named(files, tmp_path, name, begin, share, fill):
    data = bytearray(files[name].read_bytes())
    start, count = round(len(data) * begin), round(len(data) * share)
    data[start : start + count] = bytes(count) if fill == "zeros" else np.random.default_rng(4).bytes(count)
    (tmp_path / name).write_bytes(data)
    told = "got other bytes|cut off: expected .* bytes"  # Noise may hold the length of a part.
    assert re.search(told, reason(read_frames, tmp_path / name, **SMALL))
    assert re.search(told, reason(read_audio, tmp_path / name, rate=16_000))


def remuxed(source: Path, path: Path, **options: str) -> Path:
    """Copy the packets into another file, written with other options."""
    with av.open(str(source)) as container, av.open(str(path), "w", options=options) as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
    return path


@pytest.mark.parametrize(
    "options", [{"live": "1"}, {"cluster_time_limit": "500", "reserve_index_space": "3000"}], ids=str
)
@pytest.mark.parametrize("name", ["clip.mkv", "clip.webm"])
def test_other_forms_of_matroska_are_read(files, tmp_path, name, options):
    path = remuxed(files[name], tmp_path / name, **options)
    np.testing.assert_array_equal(read_frames(path, **SMALL), read_frames(files[name], **SMALL))
    np.testing.assert_array_equal(read_audio(path, rate=16_000), read_audio(files[name], rate=16_000))


@pytest.mark.parametrize("name", ["clip.mkv", "clip.webm"])
def test_blocks_that_cannot_be_read_are_counted(files, tmp_path, name):
    """One byte makes FFmpeg leave out the rest of a cluster, without a word."""
    path = remuxed(files[name], tmp_path / name, cluster_time_limit="1000")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        content = next(bytes(packet) for packet in container.demux() if (packet.pts or 0) > 1100)
    track = data.index(content) - 4
    assert data[track] in (0x81, 0x82)
    data[track] = 0
    path.write_bytes(data)
    assert "blocks cannot be read" in reason(read_frames, path, **SMALL)
    assert "blocks cannot be read" in reason(read_audio, path, rate=16_000)


def flv_tags(data: bytes) -> list[bytes]:
    begin, tags = 13, []
    while begin < len(data):
        length = 11 + int.from_bytes(data[begin + 1 : begin + 4], "big") + 4
        tags.append(data[begin : begin + length])
        begin += length
    return tags


def test_a_damaged_time_does_not_hide_that_the_end_is_missing(files, tmp_path):
    data = files["clip.flv"].read_bytes()
    tags = [tag for tag in flv_tags(data) if int.from_bytes(tag[4:7], "big") < 1500]
    last = next(number for number in range(len(tags) - 1, 0, -1) if tags[number][0] == 9)
    path = tmp_path / "clip.flv"
    for time in (1400, 60_000):
        tags[last] = tags[last][:4] + time.to_bytes(3, "big") + tags[last][7:]
        path.write_bytes(data[:13] + b"".join(tags))
        assert "cut off: expected 3.02 s of audio, got 1.5" in reason(read_audio, path, rate=16_000)


def test_padding_behind_an_flv_is_allowed(files, tmp_path):
    path = tmp_path / "clip.flv"
    path.write_bytes(files["clip.flv"].read_bytes() + bytes(100))
    np.testing.assert_array_equal(read_frames(path, **SMALL), read_frames(files["clip.flv"], **SMALL))


def test_a_clip_that_ends_after_its_file_is_named(files):
    assert reason(read_frames, files["clip.mkv"], end=9.0, **SMALL) == "cut off: expected 9.00 s of video, got 3.00 s"
    assert "expected 9.00 s of audio" in reason(read_audio, files["clip.flac"], rate=16_000, end=9.0)
    assert "from 5 s on" in reason(read_frames, files["clip.mkv"], start=5.0, **SMALL)
    assert "from 5 s on" in reason(read_audio, files["clip.flac"], rate=16_000, start=5.0)


def test_files_that_hold_nothing_to_decode_are_named(files, tmp_path):
    page = tmp_path / "page.mp4"
    page.write_text("<html>not found</html>" * 50)
    assert "cannot be opened" in reason(read_frames, page, **SMALL)
    assert "cannot be opened" in reason(read_audio, page, rate=16_000)
    assert reason(read_frames, files["clip.flac"], **SMALL) == "no video in the file"


def test_a_playlist_opens_no_other_file(files, tmp_path):
    playlist = tmp_path / "list.m3u8"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\n{files['clip.mp4']}\n#EXT-X-ENDLIST\n")
    assert "cannot be opened" in reason(read_frames, playlist, **SMALL)


def test_check_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    assert reason(check_file, path) == "the file is missing"
    assert reason(check_file, tmp_path) == "expected a file, got a folder"
    path.write_bytes(b"")
    assert reason(check_file, path) == "the file is empty"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert "git lfs pull" in reason(check_file, path)
    assert "git lfs pull" in reason(read_frames, path, **SMALL)
    assert "git lfs pull" in reason(read_audio, path, rate=16_000)
    path.write_bytes(b"x")
    assert check_file(path) is None

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert reason(check_file, path) == "unreadable file (Permission denied)"


@pytest.mark.parametrize(
    "call",
    [
        lambda path: read_frames(path, num_frames=0, height=8, width=8),
        lambda path: read_frames(path, num_frames=1, height=0, width=8),
        lambda path: read_frames(path, num_frames=1, height=8, width=8, frames_per_second=0.0),
        lambda path: read_frames(path, num_frames=1, height=8, width=8, start=2.0, end=1.0),
        lambda path: read_frames(path, num_frames=1, height=8, width=8, start=float("nan")),
        lambda path: read_audio(path, rate=0),
        lambda path: read_audio(path, rate=8000, start=-1.0),
    ],
)
def test_options_out_of_range_are_refused(files, call):
    with pytest.raises(DataError, match="Expected"):
        call(files["clip.mp4"])


def test_one_thread_decodes(files):
    with decoding.opened(files["clip.mp4"], "video") as decoder:
        assert decoder.stream.codec_context.thread_count == 1


def test_without_pyav_the_extra_is_named(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match="'av'"):
        read_audio(files["clip.mp4"], rate=16_000)
    with pytest.raises(MissingExtraError, match="'av'"):
        read_frames(files["clip.mp4"], **SMALL)


def attempt(read, folder: Path) -> np.ndarray | None:
    """Return what is read, or None if the file was refused in one line without its folder."""
    try:
        return read()
    except BadFileError as error:
        text = str(error)
    assert "\n" not in text
    assert str(folder) not in text
    return None


def spoilt(data: bytes, seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    copy = bytearray(data)
    if seed % 3 == 0:
        return bytes(copy[: rng.integers(1, len(copy))])
    for position in rng.integers(0, len(copy), 1 + 20 * (seed % 3 == 1)):
        copy[position] ^= 1 << int(rng.integers(8))
    return bytes(copy)


@pytest.mark.parametrize("seed", range(80))
def test_damage_is_named_or_harmless_and_never_noisy(files, tmp_path, capfd, seed):
    name = list(FORMS)[seed % len(FORMS)]
    path = tmp_path / name
    path.write_bytes(spoilt(files[name].read_bytes(), seed))
    frames = attempt(lambda: read_frames(path, **SMALL), tmp_path)
    assert frames is None or frames.shape == (3, 3, 12, 16)
    sound = attempt(lambda: read_audio(path, rate=8000), tmp_path)
    assert sound is None or 0.9 * 24_000 < len(sound) < 1.1 * 24_000
    assert sound is None or np.isfinite(sound).all()
    assert capfd.readouterr() == ("", "")


def test_garbage_is_named(tmp_path):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        path = tmp_path / f"noise{seed}.mp4"
        path.write_bytes(rng.bytes(20_000))
        reason(read_frames, path, **SMALL)
        reason(read_audio, path, rate=16_000)


def test_the_real_clip(tmp_path):
    root = Path(os.environ.get("ROLLINGQ_DATA", "../shared/data"))
    path = root / "media/bigbuckbunny.mp4"
    if not path.is_file():
        pytest.skip(f"no media/bigbuckbunny.mp4 below {root} (set ROLLINGQ_DATA)")
    frames = read_frames(path, num_frames=3, height=72, width=128)
    with av.open(str(path)) as container:
        images = [f.to_ndarray(format="rgb24") for f in container.decode(video=0) if f.time in (1.0, 3.0, 5.0)]

    expected = np.stack([image.reshape(72, 10, 128, 10, 3).mean((1, 3)).transpose(2, 0, 1) for image in images])
    assert np.abs(frames - expected).mean() < 1.5
    assert read_audio(path, rate=16_000).shape == (84_992,)
