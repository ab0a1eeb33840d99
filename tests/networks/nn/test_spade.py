import torch
import torch.nn.functional as F

from ipoke.networks.nn.spade import Modulation, Spade


def make():
    torch.manual_seed(0)
    return Spade(channels=6, hidden=5, groups=3).double()


def inputs(pictures=3, frames=4):
    generator = torch.Generator().manual_seed(1)
    source = torch.randn(pictures, 3, 16, 16, generator=generator, dtype=torch.float64)
    x = torch.randn(pictures * frames, 6, 8, 8, generator=generator, dtype=torch.float64)
    return source, x


def test_frames_are_normalised_and_modulated_by_their_own_picture():
    spade, (source, x) = make(), inputs()
    modulation = spade.modulation(source, 8)
    got = spade(x, modulation)
    for index, frame in enumerate(x):
        picture = index // 4
        normalised = F.group_norm(frame[None], 3)[0]
        expected = normalised * (1 + modulation.scale[picture]) + modulation.shift[picture]
        torch.testing.assert_close(got[index], expected)


def test_a_modulation_computed_once_equals_one_computed_per_frame():
    spade, (source, x) = make(), inputs()
    once = spade(x, spade.modulation(source, 8))
    per_frame = spade(x, spade.modulation(source.repeat_interleave(4, 0), 8))
    torch.testing.assert_close(once, per_frame)


def test_another_picture_changes_its_own_frames_only():
    spade, (source, x) = make(), inputs()
    changed = source.clone()
    changed[1] *= -1
    difference = (spade(x, spade.modulation(changed, 8)) - spade(x, spade.modulation(source, 8))).abs()
    per_frame = difference.flatten(1).amax(1)
    assert per_frame[4:8].min() > 0.01
    assert per_frame[:4].max() == per_frame[8:].max() == 0


def test_without_modulation_it_is_group_norm():
    spade, (_, x) = make(), inputs()
    nothing = torch.zeros(3, 6, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(spade(x, Modulation(nothing, nothing)), F.group_norm(x, 3))
    torch.testing.assert_close(spade(100 * x + 7, Modulation(nothing, nothing)), F.group_norm(x, 3), atol=1e-4, rtol=0)


def test_the_modulation_is_read_off_the_picture_with_its_corners_aligned():
    spade, (source, _) = make(), inputs()
    small = F.interpolate(source, (8, 8), mode="bilinear", align_corners=True)
    hidden = F.leaky_relu(spade.shared(small), 0.2)
    modulation = spade.modulation(source, 8)
    torch.testing.assert_close(modulation.scale, spade.scale(hidden))
    torch.testing.assert_close(modulation.shift, spade.shift(hidden))
    assert not torch.allclose(modulation.scale, modulation.shift)


def test_pictures_of_a_modulation_are_selected_repeated_and_joined():
    spade, (source, x) = make(), inputs()
    whole = spade.modulation(source, 8)
    of_each = [whole.rows(slice(i, i + 1)) for i in range(len(source))]
    for index, one in enumerate(of_each):
        frames = x[4 * index : 4 * index + 4]
        torch.testing.assert_close(spade(frames, one), spade(x, whole)[4 * index : 4 * index + 4])
        torch.testing.assert_close(spade(frames, one.expand(4)), spade(frames, one))
    for joined, expected in zip(Modulation.cat(of_each), whole, strict=True):
        torch.testing.assert_close(joined, expected, rtol=0, atol=0)
    torch.testing.assert_close(spade(x, whole.repeat_interleave(4)), spade(x, whole))
