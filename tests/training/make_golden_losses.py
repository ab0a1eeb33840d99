"""Write golden_losses.json: the losses of the first steps of two stages, as they were when someone last looked.

Run it from the root of the project, `python tests/training/make_golden_losses.py`, after a change that is meant to
change them, and say why in the commit.
"""

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from ipoke.core.recipe import Recipe
from ipoke.training import loop
from ipoke.training.train import train
from tiny import Silent, clip_set, tiny_recipe, training

GOLDEN = Path(__file__).with_name("golden_losses.json")
STEPS = 10
TERMS = (
    "reconstruction_l1",
    "pyramid_l1",
    "motion",
    "motion_between",
    "kl",
    "static_hinge",
    "temporal_hinge",
    "temporal_gradient_penalty",
    "adversarial_static",
    "adversarial_temporal",
    "feature_matching",
    "nll_nats",
)


def recipe() -> Recipe:
    """Give the recipe whose losses are golden: full precision, ten steps of the two stages, one of the others."""
    return tiny_recipe(
        *training(clips=2),
        *(f"train.{stage}.{key}" for stage in ("autoencoder", "latent_flow") for key in (f"clips={2 * STEPS}",)),
        *(f"train.{stage}.precision=float32" for stage in ("autoencoder", "latent_flow")),
    )


def losses(out: Path) -> dict[str, list[dict[str, float]]]:
    """Train, with every step logged, and return the loss terms of each step by stage."""
    setattr(loop, "LOG_EVERY_S", -1.0)  # noqa: B010  (a constant to everyone else)
    train(clip_set(), recipe(), out, reporter=Silent())
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        stage: [{name: row[name] for name in TERMS if name in row} for row in rows if row["stage"] == stage]
        for stage in ("autoencoder", "latent_flow")
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(json.dumps(losses(Path(folder) / "run"), indent=1) + "\n", encoding="utf-8")
