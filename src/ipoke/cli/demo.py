"""The demo: poke the bundled still with the bundled model."""

from collections.abc import Callable
from pathlib import Path

from ipoke.data.images import write_png
from ipoke.data.poke import Poke
from ipoke.sampling.model import bundled_still, load
from ipoke.sampling.session import sample, start_session, write_samples

MODEL = "scenes-64"
POKE = Poke(x=38, y=137, dx=0, dy=34)
SAMPLES, SEED = 5, 0


def run_demo(out: Path, progress: Callable[[int, int], None]) -> list[Path]:
    """Write demo.webp, demo.mp4, demo.png (film strip), the session demo.json and its picture still.png to a folder.

    Raises:
        InputError: The folder cannot be written.
    """
    steps = 5
    progress(0, steps)
    model, still = load(MODEL), bundled_still()
    write_png(out / "still.png", still)
    session = start_session(
        model,
        still,
        [POKE],
        names=(out / "still.png", MODEL),
        folder=out,
        samples=SAMPLES,
        seed=SEED,
        temperature=1.0,
    )
    progress(1, steps)
    clips, session = sample(session, model, still)
    progress(2, steps)
    files = [out / "demo.webp", out / "demo.mp4", out / "demo.png"]
    for done, file in enumerate(files, start=3):
        write_samples(file, clips, [POKE])
        progress(done, steps)
    session.save(out / "demo.json")
    return [*files, out / "demo.json"]
