"""Checkpoints of the released implementation: the same numbers here as there, and refusals that leave nothing."""

import os
from pathlib import Path

import pytest
import released
import torch
from released import Released, checkpoint
from safetensors.torch import load_file, save_file

from commands import PICTURE, is_one_line
from ipoke.data.images import write_png
from ipoke.sampling.model import PokeModel, load

REFERENCE = os.environ.get("IPOKE_REFERENCE")
PARITY = Path(REFERENCE or ".") / "parity"
recorded = pytest.mark.skipif(
    not PARITY.is_dir(), reason="IPOKE_REFERENCE names no folder with the released implementation's outputs (parity/)"
)
OPTIONS = {
    "first_stage_model": "--first-stage",
    "conditioner": "--image-encoder",
    "poke_embedder": "--poke-encoder",
    "flow": "--latent-flow",
}


def computed_here(model: PokeModel, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give every output by the name it is recorded under, each from recorded inputs alone."""
    x0, cond = given["images"][:, 0], given["conditioning"]
    mean, logvar = model.encode(given["images"])
    residual, log_det = model.to_residual(given["posterior_mean"], cond)
    return {
        "posterior_mean": mean,
        "posterior_logvar": logvar,
        "image_embedding": model.conditions.image(x0),
        "poke_embedding": model.conditions.encode_pokes(given["poke"], x0),
        "conditioning": model.condition(x0, given["poke"]),
        "residual": residual,
        "logdet": log_det,
        "nll_loss": model.latent_flow.nll(given["posterior_mean"], cond),
        "sampled_latent": model.to_latent(given["base_noise"], cond),
        "inverted_latent": model.to_latent(given["residual"], cond),
        "sampled_video": model.decode(given["sampled_latent"], x0),
        "reconstructed_video": model.decode(given["posterior_mean"], x0),
    }


def errors(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, float]:
    """Give the largest difference of each output: absolute for videos and log-determinants, else relative."""
    found = {}
    for name, tensor in got.items():
        error = float((tensor - wanted[name]).abs().max())
        absolute = name == "logdet" or name.endswith("video")
        found[name] = error if absolute else error / float(wanted[name].abs().max())
    return found


def assert_within(found: dict[str, float]) -> None:
    for name, error in found.items():
        assert error <= (1e-3 if name == "logdet" else 1e-4), f"{name}: {error:.1e}"


def given_for(state: dict[str, torch.Tensor], *, sees_source: bool) -> dict[str, torch.Tensor]:
    """Compute inputs and outputs of the released networks from the state by its original names."""
    there, generator = Released(state), torch.Generator().manual_seed(1)
    images = 2 * torch.rand(2, released.FRAMES + 1, 3, released.PIXELS, released.PIXELS, generator=generator) - 1
    poke = 5 * torch.randn(2, 2, released.PIXELS, released.PIXELS, generator=generator)
    noise = torch.randn(2, released.LATENT, 8, 8, generator=generator)
    x0 = images[:, 0]
    mean, logvar = there.posterior(images)
    image = there.embedding("conditioner", x0)
    pokes = there.embedding("poke_embedder", torch.cat([poke, x0], 1) if sees_source else poke)
    cond = torch.cat([image, pokes], 1)
    residual, log_det = there.residual(mean, cond)
    return {
        **{"images": images, "poke": poke, "base_noise": noise, "conditioning": cond},
        **{"posterior_mean": mean, "posterior_logvar": logvar, "image_embedding": image, "poke_embedding": pokes},
        **{"residual": residual, "logdet": log_det, "inverted_latent": mean},
        "nll_loss": (0.5 * residual.square().flatten(1).sum(1) - log_det).mean(),
        "reconstructed_video": there.video(mean, x0),
    }


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> Path:
    """A miniature checkpoint, imported; read-only."""
    from ipoke.exchange.official.import_official import import_official

    folder = tmp_path_factory.mktemp("official")
    save_file(checkpoint(), folder / "miniature.safetensors")
    return import_official(folder / "miniature.safetensors", {}, folder / "run").weights


@pytest.mark.parametrize("sees_source", [False, True])
@torch.no_grad()
def test_an_imported_model_computes_what_the_checkpoint_did(ipoke, tmp_path, sees_source):
    state = checkpoint(sees_source=sees_source)
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "last.ckpt")
    answer = ipoke("import-official", tmp_path / "last.ckpt", "--out", tmp_path / "run")
    assert answer.code == 0, answer.err
    assert "latent flow" in answer.out
    model, given = load(tmp_path / "run"), given_for(state, sees_source=sees_source)
    z = model.to_latent(given["base_noise"], given["conditioning"])
    back, _ = Released(state).residual(z, given["conditioning"])
    assert (back - given["base_noise"]).abs().max() < 1e-4
    given |= {"sampled_latent": z, "sampled_video": Released(state).video(z, given["images"][:, 0])}
    assert_within(errors(computed_here(model, given), given))


@recorded
@pytest.mark.parametrize("name", ["mini64", "mini64_pokeimage"])
@torch.no_grad()
def test_an_imported_model_computes_what_the_released_implementation_did(ipoke, tmp_path, name):
    assert ipoke("import-official", PARITY / f"{name}_state.safetensors", "--out", tmp_path / "run").code == 0
    given = load_file(PARITY / f"{name}_io.safetensors")
    found = errors(computed_here(load(tmp_path / "run"), given), given)
    print("\n" + "\n".join(f"{name} {output} {error:.1e}" for output, error in found.items()))
    assert_within(found)


@recorded
@torch.no_grad()
def test_the_miniature_computes_like_the_released_implementation():
    given = load_file(PARITY / "mini64_io.safetensors")
    there, x0 = Released(load_file(PARITY / "mini64_state.safetensors")), given["images"][:, 0]
    mean, logvar = there.posterior(given["images"])
    residual, log_det = there.residual(given["posterior_mean"], given["conditioning"])
    got = {"posterior_mean": mean, "posterior_logvar": logvar, "residual": residual, "logdet": log_det}
    got["image_embedding"] = there.embedding("conditioner", x0)
    got["poke_embedding"] = there.embedding("poke_embedder", given["poke"])
    got["sampled_video"] = there.video(given["sampled_latent"], x0)
    assert_within(errors(got, given))


@pytest.mark.slow
def test_an_imported_run_is_used_like_any_other(ipoke, tmp_path, imported):
    picture = tmp_path / "picture.png"
    write_png(picture, PICTURE)
    assert ipoke("info", imported.parent).code == 0
    assert (
        ipoke("poke", picture, "--poke", "32,30,8,-4", "--model", imported.parent, "--out", tmp_path / "a.png").code
        == 0
    )
    assert (tmp_path / "a.png").exists()
    again = PokeModel(load(imported).recipe)
    again.load_state_dict(load(imported).state_dict())
    assert again.sha256 == load(imported).sha256


@pytest.mark.slow
def test_parts_come_from_files_of_their_own(ipoke, tmp_path, imported):
    words: list[str | Path] = []
    for part, option in OPTIONS.items():
        prefix = f"{part}."
        own = {k.removeprefix(prefix): v for k, v in checkpoint().items() if k.startswith(prefix)}
        named = {prefix + k: v for k, v in own.items()}
        torch.save({"state_dict": named if part == "conditioner" else own}, tmp_path / f"{part}.ckpt")
        words += [option, tmp_path / f"{part}.ckpt"]
    assert ipoke("import-official", *words, "--out", tmp_path / "run").code == 0
    assert load(tmp_path / "run").sha256 == load(imported).sha256


def test_a_part_of_its_own_replaces_that_of_the_checkpoint(ipoke, tmp_path, imported):
    save_file(checkpoint(), tmp_path / "whole.safetensors")
    other = {k: v for k, v in checkpoint(seed=1).items() if k.startswith("flow.")}
    save_file(other, tmp_path / "other.safetensors")
    words = ("--latent-flow", tmp_path / "other.safetensors", "--out", tmp_path / "run")
    assert ipoke("import-official", tmp_path / "whole.safetensors", *words).code == 0
    ours, before = load(tmp_path / "run").state_dict(), load(imported).state_dict()
    changed = {name.split(".")[0] for name in ours if not torch.equal(ours[name], before[name])}
    assert changed == {"latent_flow"}


def without(name: str) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in checkpoint().items() if key != name}


GRU = "first_stage_model.rnn.cells.0.update_gate.weight"
SHIFT = "flow.flow.layers.0.1.actnorm2.bias"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (without(GRU), ("missing tensors", "autoencoder.rollout.gru.cells.0.update.weight")),
        (without(SHIFT), ("missing tensors", "levels.0.layers.1.layers.6.shift")),
        (checkpoint() | {"flow.flow.layers.0.0.extra.weight": torch.ones(1)}, ("unknown tensors", "extra.weight")),
        (checkpoint() | {"first_stage_model.vgg.weight": torch.ones(1)}, ("unknown tensors", "vgg.weight")),
        (checkpoint() | {SHIFT: torch.zeros(3, 1, 1)}, ("misshaped tensors", SHIFT, "3 x 1 x 1, expected 8 x 1 x 1")),
        (checkpoint() | {SHIFT: torch.full((8, 1, 1), torch.nan)}, ("not finite", SHIFT)),
        (checkpoint() | {"i3d.conv.weight": torch.ones(1)}, ("unknown modules i3d (1 tensors)", "--ignore i3d")),
        ({k: v for k, v in checkpoint().items() if not k.startswith("poke_")}, ("lacks poke_embedder",)),
        ({k: v for k, v in checkpoint().items() if "rnn" not in k}, ("clip_decoder.rollout_layers: got 0",)),
        ({}, ("lacks first_stage_model, conditioner, poke_embedder, flow",)),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_a_checkpoint_that_does_not_fit_is_named_and_nothing_is_written(ipoke, tmp_path, state, said):
    torch.save({"state_dict": state}, tmp_path / "bad.ckpt")
    answer = ipoke("import-official", tmp_path / "bad.ckpt", "--out", tmp_path / "run")
    assert is_one_line(answer, "bad.ckpt", *said), answer.err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_modules_that_served_the_evaluation_can_be_left_aside(ipoke, tmp_path, imported):
    state = checkpoint() | {"i3d.conv.weight": torch.ones(1)}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    assert ipoke("import-official", tmp_path / "last.ckpt", "--ignore", "i3d", "--out", tmp_path / "run").code == 0
    assert load(tmp_path / "run").sha256 == load(imported).sha256


class Trap:
    """What a checkpoint must not get to do."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self):
        return (Path.touch, (self.touched,))


def test_nothing_in_a_checkpoint_is_run(ipoke, tmp_path):
    torch.save({"state_dict": checkpoint(), "callbacks": Trap(tmp_path / "touched")}, tmp_path / "trap.ckpt")
    answer = ipoke("import-official", tmp_path / "trap.ckpt", "--out", tmp_path / "run")
    assert is_one_line(answer, "trap.ckpt", "contains more than tensors", "safetensors"), answer.err
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "run").exists()
    torch.load(tmp_path / "trap.ckpt", weights_only=False)
    assert (tmp_path / "touched").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("name", ["broken.ckpt", "broken.safetensors"])
def test_a_file_that_is_no_checkpoint_is_refused(ipoke, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert is_one_line(ipoke("import-official", tmp_path / name, "--out", tmp_path / "run"), name)
    assert not (tmp_path / "run").exists()


def test_what_is_not_given_or_not_there_is_named(ipoke, tmp_path, imported):
    assert is_one_line(ipoke("import-official", "--out", tmp_path / "run"), "checkpoint", "parts")
    assert is_one_line(ipoke("import-official", tmp_path / "none.ckpt", "--out", tmp_path / "run"), "no such file")
    save_file(checkpoint(), tmp_path / "whole.safetensors")
    answer = ipoke("import-official", tmp_path / "whole.safetensors", "--out", imported.parent)
    assert is_one_line(answer, str(imported.parent), "already holds a model")
