"""The one training loop; everything is counted in clips seen.

All randomness of a step comes from (seed, stage, rank, clips seen) and the data start at the clips seen, so a run that
was stopped and resumed is the run that was not stopped, bit for bit on CPU.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from ipoke.core.errors import InputError
from ipoke.core.json_text import json_text
from ipoke.core.model_files import read_tensors, write_tensors
from ipoke.core.reading.regular import json_of
from ipoke.core.recipe import settings_key, stage_stream
from ipoke.core.runs import Run
from ipoke.data.batches import Batch
from ipoke.data.images import write_png
from ipoke.training.outliers import Outliers
from ipoke.training.parallel import Workers
from ipoke.training.schedule import WeightAverage, learning_rate
from ipoke.training.stage import LossStep, Stage, StepContext

LOG_EVERY_S = 5.0
"""Seconds between rows of metrics.jsonl."""


class TrainingStopped(Exception):  # noqa: N818  (not an error: it was asked for)
    """Training was asked to stop; the checkpoint is written."""


class Reporter(Protocol):
    """Whoever shows progress."""

    def progress(self, stage: str, clips: int, total: int, figures: dict[str, float]) -> None:
        """Say how far a stage is."""

    def note(self, text: str) -> None:
        """Say something once."""


class Loop:
    """Trains one stage to its end, writing checkpoints, metrics and pictures into a run."""

    def __init__(
        self,
        stage: Stage,
        run: Run,
        *,
        seed: int,
        checkpoint_every_clips: int,
        sample_every_clips: int,
        workers: Workers,
        reporter: Reporter,
        should_stop: Callable[[], bool],
        limit_s: float | None = None,
    ) -> None:
        """Prepare to train a stage.

        Args:
            stage: What is trained.
            run: Where files go.
            seed: Decides everything random.
            checkpoint_every_clips: How often all that is needed to go on is written.
            sample_every_clips: How often a picture is drawn.
            workers: The processes that train together.
            reporter: Told of progress.
            should_stop: Asked after every step.
            limit_s: Seconds after which the stage ends, with what it has seen by then; its learning rate and whatever
                else goes by progress follow the time as soon as that is ahead of the clips. The time counts on when
                a run is resumed, not in between.
        """
        self.stage, self.run, self.seed = stage, run, seed
        self.checkpoint_every_clips, self.sample_every_clips = checkpoint_every_clips, sample_every_clips
        self.workers, self.reporter, self.should_stop = workers, reporter, should_stop
        settings = stage.settings
        self.optimizers = {
            name: Adam(
                module.parameters(),
                lr=settings.learning_rate,
                betas=settings.betas,
                weight_decay=settings.weight_decay,
                amsgrad=settings.amsgrad,
            )
            for name, module in stage.players.items()
        }
        self.outliers = {name: Outliers(settings.gradient_skip) for name in stage.players}
        self.kept = next(iter(stage.players))
        self.average = WeightAverage(stage.players[self.kept], settings.ema_half_life_clips)
        self.clips = 0
        self.limit_s = limit_s
        self.seconds = 0.0
        """Spent on the stage, up to the last step."""
        self._ended = False

    def train(self, batches_from: Callable[[int], Iterator[Batch]]) -> None:
        """Train from the last checkpoint, if there is one, to the end of the stage.

        Args:
            batches_from: Gives the batches from a number of clips seen onwards.

        Raises:
            TrainingStopped: It was asked to stop; repeating the call goes on.
            InputError: A loss or gradient is not finite; the update was not made.
        """
        settings = self.stage.settings
        self._resume()
        started, first_clips, logged, before_s = time.monotonic(), self.clips, 0.0, self.seconds
        with closing(batches_from(self.clips)) as batches:  # ty: ignore[invalid-argument-type]
            while not self._is_finished():
                batch = Batch(*(part.to(self.stage.device) for part in next(batches)))
                if self.clips == 0:
                    self.stage.begin(batch, self._context())
                    for module in self.stage.players.values():
                        self.workers.share(module)
                    self.average = WeightAverage(self.stage.players[self.kept], settings.ema_half_life_clips)
                figures = self.step(batch)
                before, self.clips = self.clips, self.clips + settings.batch
                self.average.update(self.stage.players[self.kept], clips=self.clips, batch=settings.batch)
                now = time.monotonic()
                self.seconds = self.workers.first(before_s + now - started, self.stage.device)
                finished = self._is_finished()
                if now - logged > LOG_EVERY_S or finished:
                    logged = now
                    self._log(figures, (self.clips - first_clips) / (now - started))
                if finished or _crossed(before, self.clips, self.sample_every_clips):
                    self._picture(batch)
                stop = self.workers.any(self.should_stop(), self.stage.device)
                if finished or stop or _crossed(before, self.clips, self.checkpoint_every_clips):
                    self._save(finished=finished)
                if stop and not finished:
                    raise TrainingStopped
        self._finish()

    def _context(self) -> StepContext:
        words = np.random.SeedSequence(
            [self.seed, stage_stream(self.stage.name), self.workers.rank, self.clips]
        ).generate_state(2, np.uint64)
        generator = torch.Generator().manual_seed(int(words[0] >> 1))
        return StepContext(self.clips, self.due / self.stage.settings.clips, generator)

    @property
    def due(self) -> int:
        """Clips that should have been seen by now; more than have been only where time runs ahead."""
        if self.limit_s is None:
            return self.clips
        total = self.stage.settings.clips
        return min(total, max(self.clips, int(total * self.seconds / self.limit_s)))

    def _is_finished(self) -> bool:
        return self._ended or self.due >= self.stage.settings.clips

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Take one step: update every player on one batch; give losses and figures."""
        settings = self.stage.settings
        rate = learning_rate(settings, self.due)
        figures: dict[str, Tensor] = {}
        for module in self.stage.players.values():
            module.train()
        for loss_step in self.stage.loss_steps(batch, self._context()):
            self._check_finite(loss_step)
            optimizer = self.optimizers[loss_step.player]
            parameters = [p for p in self.stage.players[loss_step.player].parameters() if p.requires_grad]
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(loss_step.terms.values())).sum().backward()
            self.workers.average_gradients(parameters)
            norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            if not torch.isfinite(norm):
                raise InputError(self._diverged(f"the gradient of {loss_step.player}", float(norm)))
            if not self.outliers[loss_step.player].has(norm):
                if settings.gradient_clip:
                    nn.utils.clip_grads_with_norm_(parameters, settings.gradient_clip, norm)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.step()
            figures |= {name: value.detach() for name, value in (loss_step.terms | loss_step.figures).items()}
            figures[f"gradient_norm_{loss_step.player}"] = norm
            if settings.gradient_skip:
                figures[f"updates_left_out_{loss_step.player}"] = torch.tensor(self.outliers[loss_step.player].left_out)
        return figures

    def _check_finite(self, loss_step: LossStep) -> None:
        """Stop before an update that would spoil the weights, and name the term that is to blame."""
        if not torch.isfinite(torch.stack(list(loss_step.terms.values()))).all():
            name, value = next((n, float(v.detach())) for n, v in loss_step.terms.items() if not torch.isfinite(v))
            raise InputError(self._diverged(f"the loss term {name}", value))

    def _diverged(self, what: str, value: float) -> str:
        return (
            f"{self.run.folder}: stage {self.stage.name}: {what} became {value} at clip {self.clips}, expected a "
            f"finite number; nothing was updated and the last checkpoint stands: repeat with a smaller "
            f"--set train.{settings_key(self.stage.name)}.learning_rate in another --out"
        )

    def _log(self, figures: dict[str, Tensor], clips_per_s: float) -> None:
        names = sorted(figures)
        values = self.workers.mean(torch.stack([figures[name].float() for name in names]))
        row = dict(zip(names, (round(v, 6) for v in values.tolist()), strict=True))
        if self.workers.is_first:
            rate = learning_rate(self.stage.settings, self.due)
            self.run.log(
                {
                    "stage": self.stage.name,
                    "clips": self.clips,
                    **row,
                    "learning_rate": rate,
                    "clips_per_s": round(clips_per_s, 2),
                }
            )
            self.reporter.progress(self.stage.name, self.due, self.stage.settings.clips, row)

    def _picture(self, batch: Batch) -> None:
        if not self.workers.is_first:
            return
        module = self.stage.players[self.kept]
        current = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        module.load_state_dict(self.average.state())
        module.eval()
        with torch.no_grad():
            picture = self.stage.picture(batch, self._context())
        module.load_state_dict(current)
        write_png(self.run.folder / "samples" / f"{self.stage.name}-{self.clips:08d}.png", picture)

    def _save(self, *, finished: bool) -> None:
        """Write all that the stage needs to go on; a finished one keeps its averaged weights only."""
        if self.workers.is_first:
            tensors = {f"average/{name}": tensor for name, tensor in self.average.state().items()}
            if not finished:
                for player, module in self.stage.players.items():
                    tensors |= {f"module/{player}/{name}": tensor for name, tensor in module.state_dict().items()}
                    tensors |= _optimizer_tensors(player, self.optimizers[player])
                    tensors[f"outliers/{player}"] = self.outliers[player].state()
            metadata = {
                "clips": str(self.clips),
                "finished": json_text(finished),
                "seconds": f"{self.seconds:.1f}",
            }
            write_tensors(self.run.checkpoint(self.stage.name), _unshared(tensors), metadata)
        self.workers.wait()

    def _resume(self) -> None:
        path = self.run.checkpoint(self.stage.name)
        if not path.exists():
            if self.workers.is_first:
                self.run.drop_log_after(self.stage.name, 0)
            return
        tensors, metadata = read_tensors(path)
        try:
            self._restore(tensors, metadata)
        except (KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
            raise InputError(
                f"{path}: got another checkpoint, expected one of stage {self.stage.name} by this recipe; "
                "remove it to train the stage again"
            ) from error

    def _restore(self, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        self.clips = int(metadata["clips"])
        self.seconds = float(metadata.get("seconds", 0.0))
        device = self.stage.device
        self.average.shadow = {
            name.removeprefix("average/"): tensor.to(device)
            for name, tensor in tensors.items()
            if name.startswith("average/")
        }
        if json_of(metadata["finished"]):
            self._ended = True
            self._finish()
            return
        for player, module in self.stage.players.items():
            prefix = f"module/{player}/"
            module.load_state_dict(
                {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            )
            _restore_optimizer(player, self.optimizers[player], tensors)
            self.outliers[player].restore(tensors[f"outliers/{player}"])
        if self.workers.is_first:
            self.run.drop_log_after(self.stage.name, self.clips)
            self.reporter.note(f"{self.stage.name}: goes on at clip {self.clips}")

    def _finish(self) -> None:
        """Leave the averaged weights in the model."""
        module = self.stage.players[self.kept]
        module.load_state_dict(self.average.state())
        module.eval().requires_grad_(False)


def _crossed(before: int, after: int, every: int) -> bool:
    return before // every != after // every


def _unshared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give each name storage of its own, as safetensors demands."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _optimizer_tensors(player: str, optimizer: Adam) -> dict[str, Tensor]:
    """Name every tensor of an optimizer's state by player, parameter number and role."""
    return {
        f"optimizer/{player}/{number}/{role}": value
        for number, state in optimizer.state_dict()["state"].items()
        for role, value in state.items()
    }


def _restore_optimizer(player: str, optimizer: Adam, tensors: dict[str, Tensor]) -> None:
    """Undo `_optimizer_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, *rest = name.split("/")
        if kind == "optimizer" and rest[0] == player:
            state.setdefault(int(rest[1]), {})[rest[2]] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
