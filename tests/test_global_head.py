"""The global head: what is pooled, what is normed, what is learned."""

import pytest
import torch

from models.heads.global_head import GlobalHead


@pytest.fixture
def head():
    torch.manual_seed(0)
    return GlobalHead(6, 4)


def maps(n=5):
    return torch.randn(n, 6, 4, 2, generator=torch.Generator().manual_seed(1)) + 1


def test_the_three_outputs_written_out(head):
    x = maps()
    out = head.train()(x)
    feats = torch.stack([torch.stack([c.sum() / 8 for c in image]) for image in x])
    normed = (feats - feats.mean(0)) / (feats.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(out.feats, feats)
    torch.testing.assert_close(out.bn_feats, normed, rtol=1e-4, atol=1e-5)
    (logits,) = out.logits
    torch.testing.assert_close(logits, normed @ head.classifier.weight.T, rtol=1e-4, atol=1e-6)
    assert head.dim == 6 and len(out.branches) == 1


def test_at_test_time_there_are_no_logits_and_no_image_sees_another(head):
    head.train()(maps())
    head.eval()
    together, alone = head(maps()), head(maps()[:1])
    assert together.logits == ()
    torch.testing.assert_close(together.bn_feats[:1], alone.bn_feats)


def test_the_necks_bias_is_not_trained_and_the_classifier_has_none(head):
    trained = {n for n, p in head.named_parameters() if p.requires_grad}
    assert trained == {"neck.weight", "classifier.weight"}
    assert head.neck.bias.abs().sum() == 0
    assert head.classifier.weight.std().item() == pytest.approx(0.001, rel=0.5)


def test_the_gradient_reaches_map_and_parameters(head):
    x = maps().requires_grad_()
    out = head.train()(x)
    (out.logits[0].square().sum() + out.feats.sum()).backward()
    assert (x.grad != 0).all() and all(p.grad is not None for p in head.parameters() if p.requires_grad)


def test_under_autocast_the_features_stay_float32(head):
    """A bfloat16 mean and norm would leave 8 bits of the feature that is searched with."""
    with torch.autocast("cpu", torch.bfloat16):
        out = head.train()(maps().to(torch.bfloat16))
    assert out.feats.dtype == out.bn_feats.dtype == torch.float32
    torch.testing.assert_close(out.feats, maps().to(torch.bfloat16).float().mean((2, 3)))
