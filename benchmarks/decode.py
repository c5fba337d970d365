"""Reading a clip (3 frames, sound, spectrogram) against PyAV's bare decoding of the same file, on one core.

The clips are 5 s of 340x256 H.264 and AAC, made from $ROLLINGQ_DATA/media/bigbuckbunny.mp4, and that file itself.

Run: python benchmarks/decode.py
"""

import os
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from paired import paired_ratio, write_result

from rollingq.data.raw.media import read_audio, read_frames
from rollingq.data.raw.spectrogram import rate_of, spectrogram

DATA = Path(os.environ.get("ROLLINGQ_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
SIZE, SECONDS, RECIPE, TARGET = 224, 5.0, "paper", 0.70
Read = Callable[[Path], Any]


def bare(path: Path) -> int:
    """Decode every frame of picture and sound with one thread, and do nothing with them."""
    with av.open(str(path)) as container:
        for stream in container.streams:
            stream.codec_context.thread_count = 1
        return sum(1 for packet in container.demux() for _ in packet.decode())


def ours(path: Path, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Return a sample of audio and visual."""
    frames = read_frames(path, num_frames=3, height=size, width=size)
    samples = read_audio(path, rate=rate_of(RECIPE))
    return frames, spectrogram(samples, RECIPE, SECONDS)


def make_clips(source: Path, folder: Path, num_clips: int) -> list[Path]:
    """Encode the source's first seconds as small clips, each a little brighter than the one before."""
    return [_make_clip(source, folder / f"clip{index}.mp4", 4 * index) for index in range(num_clips)]


def _make_clip(source: Path, path: Path, brightness: int) -> Path:
    with av.open(str(source)) as container, av.open(str(path), "w") as out:
        rate = container.streams.video[0].average_rate or Fraction(25)
        video = out.add_stream("libx264", rate=rate)
        video.width, video.height, video.pix_fmt = 340, 256, "yuv420p"
        audio = out.add_stream("aac", rate=48_000, layout="stereo")
        resampler = av.AudioResampler("fltp", "stereo", 48_000)
        num_frames = 0
        for frame in container.decode(video=0, audio=0):
            if not isinstance(frame, av.AudioFrame | av.VideoFrame) or (frame.time or 0.0) >= SECONDS:
                continue
            if isinstance(frame, av.AudioFrame):
                for part in resampler.resample(frame):
                    out.mux(audio.encode(part))
            else:
                image = frame.reformat(340, 256, "rgb24").to_ndarray()
                bright = av.VideoFrame.from_ndarray(np.minimum(image, 255 - brightness) + np.uint8(brightness))
                bright.pts, bright.time_base = num_frames, 1 / rate
                num_frames += 1
                out.mux(video.encode(bright))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))
    return path


def measure(paths: list[Path], rounds: int) -> dict[str, Any]:
    """Return clips a second of both, and the quartiles of ours as a share of bare decoding."""

    def all_of(read: Read) -> None:
        for path in paths:
            read(path)

    times = paired_ratio(partial(all_of, bare), partial(all_of, ours), rounds=rounds, warmup=1)
    return {
        "clips": len(paths),
        "rounds": times["rounds"],
        "bare_clips_per_second": 1e3 * len(paths) / times["first_ms"],
        "our_clips_per_second": 1e3 * len(paths) / times["second_ms"],
        "ratio_median": times["ratio_median"],
        "ratio_quartiles": times["ratio_quartiles"],
    }


def main() -> None:
    """Time the small clips and the original file."""
    source = DATA / "media/bigbuckbunny.mp4"
    with tempfile.TemporaryDirectory() as folder:
        small = measure(make_clips(source, Path(folder), num_clips=4), rounds=15)
    write_result(
        "decode",
        {
            "what": "frames + sound + spectrogram (ours) as a share of the speed of PyAV's bare decoding, one core",
            "target": TARGET,
            "small": {"form": "340x256 H.264 + AAC stereo, 5 s", **small},
            "original": {"form": "1280x720 H.264 + AAC 5.1, 5.3 s", **measure([source], rounds=15)},
        },
    )


if __name__ == "__main__":
    main()
