"""Photograph the top of a report for the docs, in a headless Chromium.

Run: python scripts/screenshot.py REPORT.html docs/images/report.png
"""

import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH, HEIGHT, MARGIN = 1180, 1480, 90


def main(page: str, picture: str) -> None:
    """Write a picture of the first screens of a page, without its margins and with few colours."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        size = [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={shot}"]
        subprocess.run(
            ["chromium", *options, *size, Path(page).resolve().as_uri()],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        with Image.open(shot) as image:
            shown = image.convert("RGB").crop((MARGIN, 0, WIDTH - MARGIN, HEIGHT)).quantize(64)
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    shown.save(picture, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
