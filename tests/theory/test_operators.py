"""Linear observations: adjoints, what is solved with them, and what is refused."""

import pytest
import torch

from diffode.fields import operators
from diffode.fields.operators import LinearOperator, blur, downsample, mask, matrix, operator


def numbers(*shape, seed=0):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.float64)


MADE = [
    mask(numbers(3, 4, 4) > 0),
    mask(torch.eye(4), (2, 4, 4)),
    downsample((3, 4, 6), 2),
    downsample((8,), 4),
    blur((1, 6, 5), 1.3),
    blur((7,), 0.4),
    matrix(numbers(3, 8)),
    matrix(numbers(2, 8), (2, 4)),
    operator(lambda x: x.cumsum(1)[:, :3], (5,)),
    operator(lambda x: torch.fft.rfft(x).real, (2, 6)),
]
SCALED = [o.scaled(torch.tensor(2.5)) for o in MADE]
UNEVEN = [o.scaled(1 + numbers(*o.event_shape).abs()) for o in MADE]


@pytest.mark.parametrize("made", [*MADE, *SCALED, *UNEVEN], ids=repr)
def test_what_it_observes_its_adjoint_and_its_gram_agree(made):
    x, y = numbers(4, *made.event_shape), numbers(4, *made.observed_shape)
    assert made(x).shape == y.shape and made.adjoint(y).shape == x.shape
    inside = (made(x) * y).flatten(1).sum(1), (x * made.adjoint(y)).flatten(1).sum(1)
    torch.testing.assert_close(*inside)
    gram, variance = made.gram(), numbers(4).square()
    q = gram.solve(y, variance, 0.3)
    back = variance.view(4, *[1] * (y.ndim - 1)) * made(made.adjoint(q)) + 0.3**2 * q
    torch.testing.assert_close(back, y)
    h = made.rows().flatten(1)
    for i, r2 in enumerate(variance):
        total = r2 * h @ h.T + 0.3**2 * torch.eye(made.count, dtype=torch.float64)
        law = torch.distributions.MultivariateNormal(0 * y[i].flatten(), total)
        got = gram.log_density(y[i : i + 1], r2, 0.3)
        torch.testing.assert_close(got[0], law.log_prob(y[i].flatten()))


@pytest.mark.parametrize("made", MADE, ids=repr)
def test_single_precision_stays_and_rows_are_alone(made):
    x = numbers(5, *made.event_shape).float()
    whole = made(x)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(made(x[2:3]), whole[2:3])


def test_a_mask_sees_the_coordinates_in_their_order():
    seen = mask([[True, False], [True, True]])
    assert seen(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist() == [[1.0, 3.0, 4.0]]


def test_means_of_blocks_are_means():
    x = torch.arange(16.0).view(1, 4, 4)
    assert downsample((4, 4), 2)(x).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]


def test_a_blur_keeps_constants_and_the_mean_and_is_its_own_adjoint():
    made = blur((2, 9, 4), 1.7)
    x = numbers(3, 2, 9, 4)
    torch.testing.assert_close(made(torch.ones_like(x)), torch.ones_like(x))
    torch.testing.assert_close(made(x).mean((2, 3)), x.mean((2, 3)))
    torch.testing.assert_close(made(x), made.adjoint(x))


def test_a_blur_far_from_the_border_is_the_gaussian():
    point = torch.zeros(1, 41, dtype=torch.float64)
    point[0, 20] = 1
    distance = torch.arange(41).double() - 20
    kernel = (-distance.square() / 8).exp()
    torch.testing.assert_close(blur((41,), 2.0)(point)[0], kernel / kernel.sum())


def test_a_blur_of_any_width_takes_no_time_and_ends_as_the_mean():
    x = numbers(2, 1, 8, 6)
    for std in (32.0, 1e12):
        mean = x.mean((2, 3), keepdim=True).expand_as(x)
        torch.testing.assert_close(blur((1, 8, 6), std)(x), mean)


def test_an_operator_moves_and_is_cast_with_what_it_stands_in():
    made = matrix(numbers(2, 3)).half()
    assert made.matrix.dtype == torch.float64


def test_a_module_in_double_precision_sees_points_of_every_type():
    module = torch.nn.Linear(4, 2, bias=False).double()
    pair = operator(module, (4,), lambda y: y @ module.weight)
    for made in (operator(module, (4,)), pair):
        for kind in (torch.float32, torch.float64):
            x, y = numbers(3, 4).to(kind), numbers(3, 2).to(kind)
            assert made(x).dtype == made.adjoint(y).dtype == kind
            torch.testing.assert_close(made(x), x @ module.weight.detach().to(kind).T)
            torch.testing.assert_close(made.adjoint(y), y @ module.weight.detach().to(kind))
        assert not made.gram().values.requires_grad


def shifted(x):
    return x + 1


def squared(x):
    return x**2


def mixing(x):
    return x - x.mean(0, keepdim=True)


@pytest.mark.parametrize("function", [shifted, squared, torch.zeros_like, mixing])
def test_a_function_that_is_not_linear_row_by_row_is_refused(function):
    with pytest.raises(ValueError, match="not linear, row by row"):
        operator(function, (4,))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: operator(lambda x: x.sum(1), (4,)), ValueError, "gave shape"),
        (lambda: operator(lambda x: x.long(), (4,)), TypeError, "torch.int64"),
        (lambda: operator(lambda x: None, (4,)), TypeError, "NoneType"),
        (lambda: operator(lambda x: x[:, :2], (4,), lambda y: y), ValueError, "not adjoint"),
        (lambda: operator(lambda x: 2 * x, (4,), lambda y: y), ValueError, "not adjoint"),
        (
            lambda: operator(torch.nn.Linear(4, 2, bias=False), (4,)),
            TypeError,
            r"fails on torch.float64 of shape \(1, 4\)",
        ),
        (lambda: operator(lambda x: x, (4,), lambda y: None), TypeError, "NoneType"),
        (lambda: mask(torch.zeros(3, dtype=torch.bool)), ValueError, "nothing is seen"),
        (lambda: mask([0, 2, 1]), ValueError, "numbers but 0 and 1"),
        (lambda: mask(torch.ones(3), (3, 2)), ValueError, "wanted that shape, or its last axes"),
        (lambda: downsample((5, 4), 2), ValueError, "wanted one that divides 5 and 4"),
        (lambda: downsample((4, 4), 1), ValueError, "wanted 2 or more"),
        (lambda: blur((4, 4), 0.0), ValueError, "wanted a positive finite number, in pixels"),
        (lambda: blur((4, 4), "1"), ValueError, "got std '1'; wanted a positive finite number"),
        (lambda: matrix(torch.ones(2, 3), (2, 2)), ValueError, r"wanted \(m, 4\)"),
        (lambda: matrix(torch.zeros(2, 3)), ValueError, "a matrix of zeros"),
        (lambda: matrix([[1.0, float("nan")]]), ValueError, "not finite"),
        (lambda: matrix("blur"), TypeError, "got a matrix of type str"),
        (lambda: operator(lambda x: x, (4100,)).gram(), ValueError, "4096 at most"),
    ],
)
def test_what_is_no_operator_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_what_fails_says_its_own_words_where_it_is_built():
    """Advice only where it helps: float64 of what runs on float32, adjoint of no derivative."""

    def summed(x):
        return torch.from_numpy(x.numpy().cumsum(1))

    pair = operator(summed, (4,), lambda y: y.flip(1).cumsum(1).flip(1))
    torch.testing.assert_close(pair(torch.ones(1, 4))[0], torch.arange(1.0, 5))
    assert operator(torch.nn.Identity(), (4,), torch.nn.Sequential()).observed_shape == (4,)
    convolve = torch.nn.Conv2d(3, 1, 3, bias=False).double()
    half = torch.nn.Linear(4, 2, bias=False).half()
    for error, words, make in (
        (ValueError, "numpy.*; pass adjoint where H cannot", lambda: operator(summed, (4,))),
        (ValueError, "; pass adjoint where", lambda: operator(lambda x: 2 * x.detach(), (4,))),
        (ValueError, r"\[1, 3\]' is invalid .*$", lambda: operator(lambda x: x.view(1, 3), (4,))),
        (ValueError, "to have 3 channels", lambda: operator(convolve, (1, 8, 8))),
        (TypeError, r"wanted one of float64 .* weight\.to", lambda: operator(half, (4,))),
        (TypeError, "float64", lambda: operator(lambda x: x, (4,), torch.nn.Linear(4, 4))),
        (ValueError, "fails on .*5", lambda: operator(lambda x: x, (4,), lambda y: y.view(5))),
    ):
        with pytest.raises(error, match=words) as caught:
            make()
        said = str(caught.value)
        assert "\n" not in said and ("double()" in said) == (error is TypeError), said
        assert ("adjoint" in said) == ("adjoint" in words), said


def test_what_fails_for_want_of_memory_or_later_is_left_as_it_is():
    failing = []

    def doubled(x):
        if failing:
            raise failing[0]
        return 2 * x

    made, full = operator(doubled, (4,)), torch.OutOfMemoryError("full")
    for error in (full, RuntimeError("the scanner is off")):
        failing[:] = [error]
        with pytest.raises(type(error), match=f"^{error}$"):
            made(numbers(3, 4))
    failing[:] = [full]
    with pytest.raises(torch.OutOfMemoryError, match=r"^full$"):
        operator(doubled, (4,))


def test_points_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"wanted \(B, 4\)"):
        matrix(numbers(2, 4))(numbers(3, 5))


def test_the_makers_make_one_kind():
    makers = [getattr(operators, name) for name in operators.__all__ if name.islower()]
    assert len(makers) == 5 and all(isinstance(o, LinearOperator) for o in MADE)
