import pytest
import torch
from answers import DRAG, assert_alike, batch, context, frozen, perturbed

from ipoke.core.errors import InputError
from ipoke.data.poke import Poke
from ipoke.sampling.clip_sampler import ClipSampler
from ipoke.training.baselines.methods import METHODS, make_baseline
from tiny import FRAMES, tiny_recipe

POKED = [name for name in METHODS if name != "recurrent"]
STOCHASTIC = ["cvae", "recurrent"]


def asked(method, *indices, pokes=DRAG, seeds=(3,)):
    baseline = frozen(method)
    given = context(*indices, frames=baseline.context)
    return baseline.sample_clips(given, [pokes] * len(indices), [list(seeds)] * len(indices))


@pytest.mark.parametrize("method", METHODS)
def test_a_baseline_answers_with_clips(method):
    baseline = frozen(method)
    assert isinstance(baseline, ClipSampler)
    assert (baseline.name, baseline.size, baseline.frames) == (method.replace("_", "-"), 64, FRAMES)
    assert len(baseline.sha256) == 64
    clips = asked(method, 0, 1, seeds=(3, 4, 5))
    assert clips.shape == (2, 3, FRAMES, 3, 64, 64)
    assert clips.dtype == torch.float32
    assert clips.abs().max() <= 1
    assert (clips[0] - clips[1]).abs().max() > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_a_sample_depends_on_its_still_pokes_and_seed_alone(method):
    baseline = frozen(method)
    other = [Poke(x=20, y=40, dx=-3, dy=5)]
    given = context(0, 1, frames=baseline.context)
    together = baseline.sample_clips(given, [DRAG, other], [[3, 4], [5, 6]])
    for row, pokes, seeds in ((0, DRAG, [3, 4]), (1, other, [5, 6])):
        for sample, seed in enumerate(seeds):
            alone = baseline.sample_clips(given[row : row + 1], [pokes], [[seed]])
            assert_alike(together[row, sample], alone[0, 0], atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_samples_differ_where_the_baseline_says_so(method):
    first, second = asked(method, 0, seeds=(3, 4))[0]
    assert frozen(method).is_stochastic == (method in STOCHASTIC)
    assert ((first - second).abs().max() > 1e-3) == (method in STOCHASTIC)


@pytest.mark.parametrize("method", METHODS)
def test_pokes_are_heard_or_ignored(method):
    other, none = [Poke(x=30, y=30, dx=-6, dy=4)], []
    for pokes in (other, none):
        gap = (asked(method, 0) - asked(method, 0, pokes=pokes)).abs().max()
        assert (gap > 1e-3) == (method in POKED)


@pytest.mark.parametrize("method", POKED)
def test_a_poke_outside_the_still_is_refused(method):
    with pytest.raises(InputError, match="outside the image"):
        asked(method, 0, pokes=[Poke(64, 3, 1, 1)])


@pytest.mark.parametrize("kind", ["warp", "spade"])
@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_gets_a_gradient(method, kind):
    latents = [] if method == "sparse_warping" else ["latent_channels=6"]
    baseline = perturbed(method, f"clip_decoder.kind={kind}", *latents)
    chosen = list(range(baseline.context - 1, FRAMES))
    decoded, terms = baseline.generate(batch(), chosen, torch.Generator().manual_seed(0), progress=0.5)
    assert decoded.clip.shape == (2, len(chosen), 3, 64, 64)
    (decoded.clip.square().sum() + sum(terms.values())).backward()
    without = [
        name for name, parameter in baseline.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


@pytest.mark.parametrize("method", METHODS)
def test_the_chosen_frames_are_those_of_the_whole_clip(method):
    baseline, few = frozen(method), batch()
    every = list(range(baseline.context - 1, FRAMES))
    whole, _ = baseline.generate(few, every, torch.Generator().manual_seed(0), progress=0.0)
    for chosen in ([FRAMES - 1], [1, FRAMES - 1]):
        part, _ = baseline.generate(few, chosen, torch.Generator().manual_seed(0), progress=0.0)
        wanted = whole.clip[:, [every.index(index) for index in chosen]]
        torch.testing.assert_close(part.clip, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", [method for method in METHODS if method not in STOCHASTIC])
def test_what_is_trained_is_what_answers(method):
    baseline, few = frozen(method), batch()
    trained, _ = baseline.generate(few, list(range(FRAMES)), torch.Generator(), progress=0.0)
    answered = baseline.answer(few.clip[:, :1], few.poke_map, [[0], [0]])[:, 0]
    torch.testing.assert_close(trained.clip, answered, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_untrained_baselines_begin_near_the_frame_that_they_are_given(method):
    torch.manual_seed(0)
    baseline = make_baseline(tiny_recipe(f"method={method}")).eval()
    given = context(0, frames=baseline.context)
    clips = baseline.sample_clips(given, [DRAG], [[0]])
    assert (clips[0, 0] - given[0, -1]).abs().mean() < 0.1
