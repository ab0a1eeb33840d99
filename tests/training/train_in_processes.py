"""What each process of a parallel run does: train, and write down the weights that it ends with.

Usage: torchrun train_in_processes.py JOBS.json, a list of [run folder, stage, overrides].
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch.distributed as dist

from ipoke.core.model_files import write_tensors
from ipoke.core.recipe import Recipe
from ipoke.sampling.model import PokeModel
from ipoke.training import train as rooms
from ipoke.training.parallel import Workers
from tiny import Silent, clip_set, tiny_recipe

made: list[PokeModel] = []


def remembered(recipe: Recipe) -> PokeModel:
    """Make the model that is trained, and keep hold of it."""
    made.append(PokeModel(recipe))
    return made[-1]


def main(jobs: Path) -> None:
    rooms.PokeModel = remembered  # ty: ignore[invalid-assignment]
    for folder, stage, overrides in json.loads(jobs.read_text()):
        rooms.train(clip_set(), tiny_recipe(*overrides), Path(folder), reporter=Silent(), stage=stage)
        device = next(made[-1].parameters()).device
        write_tensors(Path(folder) / f"rank-{Workers(device).rank}.safetensors", dict(made[-1].state_dict()), {})
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
