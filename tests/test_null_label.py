"""No null label, no sampling without labels: what was never trained is refused, not drawn."""

import pytest
import torch

import diffode
from diffode.fields import classifier_free
from diffode.nn.embeddings import Labels
from diffode.testing import check_field
from diffode.training import Objective
from diffode.training.adversarial import AlternatingGAN
from diffode.training.trainer import train
from tests.runs import WITHOUT_LABELS

SMALL = {"width": 8, "depth": 1}
NO_NULL = "trained with label_drop=0 and has no null label"


def made(name, **options):
    return diffode.build(name, (2,), 2, **SMALL, **options)


@pytest.mark.parametrize("name", WITHOUT_LABELS)
def test_without_a_null_label_sampling_needs_labels(name, tmp_path):
    field = made(name, label_drop=0.0).field
    diffode.save(made(name, label_drop=0.0), tmp_path / "a.safetensors")
    y = torch.tensor([0, 1, 1])
    for one in (field, diffode.load(tmp_path / "a.safetensors").field):
        if name == "monoflow":  # its critics are recorded while it trains
            continue
        assert diffode.sample(one, 3, y=y, steps=1).x.isfinite().all()
        with pytest.raises(ValueError, match=NO_NULL):
            diffode.sample(one, 3, steps=1)
        with pytest.raises(ValueError, match=r"got labels from 1 to 2; use 0 to 1$"):
            diffode.sample(one, 3, y=y + 1, steps=1)


@pytest.mark.parametrize("name", ["edm", "gan"])
def test_a_share_of_dropped_labels_is_a_null_label(name):
    objective = made(name)
    x, y = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    table = next(m for m in objective.field.modules() if isinstance(m, Labels))
    before = table.weight.detach().clone()
    for _ in train(objective, (x, y), steps=8, batch=8, device="cpu"):
        pass
    moved = (table.weight.detach() - before).abs().sum(1) > 0
    assert moved.all(), "all rows are trained, the null label's too"
    assert diffode.sample(objective.field, 3, steps=1).x.isfinite().all()


def test_a_gan_from_before_labels_were_dropped_has_no_null_label(tmp_path, monkeypatch):
    """Its null label was never trained, whatever its label_drop says."""
    new, old, again = (tmp_path / f"{name}.safetensors" for name in ("new", "old", "again"))
    diffode.save(made("gan"), new)
    with monkeypatch.context() as before:
        before.setattr(AlternatingGAN, "extra_state", Objective.extra_state)
        diffode.save(made("gan"), old)
    assert diffode.sample(diffode.load(new).field, 3).x.isfinite().all()
    diffode.save(diffode.load(old), again)
    for path in (old, again):
        with pytest.raises(ValueError, match=NO_NULL):
            diffode.sample(diffode.load(path).field, 3)


def test_a_field_of_classes_is_trained_with_labels():
    with pytest.raises(ValueError, match="got data without labels; this field learns 2 classes"):
        next(train(made("edm"), torch.randn(8, 2), steps=1, batch=8, device="cpu"))


def test_a_label_without_samples_is_warned_of():
    x, y = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(8)
    with pytest.warns(UserWarning, match="no sample has label 1 of 0 to 1; what is drawn"):
        next(train(made("edm"), (x, y.long()), steps=1, batch=8, device="cpu"))


def test_checks_that_go_without_labels_say_so():
    with pytest.raises(ValueError, match=r"the checks go without labels, .*label_drop=0"):
        check_field(made("edm", label_drop=0.0).field)


@pytest.mark.parametrize("name", ["edm", "poisson"])
def test_guidance_from_no_label_needs_a_null_label(name):
    bare = made(name, label_drop=0.0).field
    for weight in (0.0, 2.0):
        with pytest.raises(ValueError, match="draws nothing without a label, as one trained with"):
            classifier_free(bare, weight)
    y = torch.tensor([0, 1, 1])
    plain, same = (diffode.sample(f, 3, y=y).x for f in (bare, classifier_free(bare, 1.0)))
    assert torch.equal(plain, same)
    guided = classifier_free(made(name).field, 2.0)
    with pytest.raises(ValueError, match="or guided already; give a weaker field"):
        classifier_free(guided, 2.0)
    assert (
        diffode.sample(classifier_free(bare, 2.0, weak=made(name).field), 3, y=y)
        .x.isfinite()
        .all()
    )
