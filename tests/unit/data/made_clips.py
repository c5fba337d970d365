"""Write small sound and video files as datasets publish them."""

import wave
from pathlib import Path

import av
import numpy as np

RATE = 16000
FPS = 4
CODECS = {".flv": ("flv", "libmp3lame", 44100), ".mp4": ("libx264", "aac", 44100), ".avi": ("mpeg4", "mp3", 44100)}
LEVELS = (40, 200, 120, 80, 160, 20, 230, 60, 140, 100)
"""Grey of each second of a made video, so that a frame says when it was."""


def tone(seconds: float, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    """Return a tone of half amplitude."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> None:
    """Write 16-bit mono sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def write_video(path: Path, seconds: int = 3, *, hertz: float | None = 440.0) -> None:
    """Write a video of 64x48 whose grey changes every second; ``hertz`` is its tone: 0 for silence, None for none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    video_codec, audio_codec, rate = CODECS[path.suffix]
    with av.open(str(path), "w") as container:
        video = container.add_stream(video_codec, rate=FPS, width=64, height=48, pix_fmt="yuv420p")
        audio = None if hertz is None else container.add_stream(audio_codec, rate=rate, layout="mono")
        for number in range(seconds * FPS):
            picture = np.full((48, 64, 3), LEVELS[number // FPS], np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(video.encode(None))
        if audio is not None:
            for frame in _sound(tone(seconds, rate, hertz or 0.0), rate, str(audio.codec_context.format.name)):
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))


def _sound(samples: np.ndarray, rate: int, form: str) -> list[av.AudioFrame]:
    whole = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
    whole.sample_rate, whole.pts = rate, 0
    resampler = av.AudioResampler(form, "mono", rate, frame_size=1024)
    return [*resampler.resample(whole), *resampler.resample(None)]
