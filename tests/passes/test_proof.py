"""Certificates: every true statement about normalisers is shown, every mutant of one is refused."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

import minigrad as mg
from minigrad.passes.derivation import TOLERANCE, apart, checked
from minigrad.passes.symbols import named

EPS = 1e-3


@dataclass(frozen=True)
class Formula:
    """A normaliser with everything that a mutant may get wrong."""

    axes: tuple[int, ...] = (0,)
    variance_axes: tuple[int, ...] | None = None
    eps: float = EPS
    eps_outside: float = 0.0
    centred: float = 1.0  # how much of the mean is taken away
    centred_square: bool = True  # the variance is of x - mu, not of x
    power: float = 2.0
    root: float = 0.5
    unbiased: bool = False
    absolute: bool = False

    def __call__(self, x, gamma=None, beta=None):
        mu = mg.mean(x, self.axes, keepdims=True)
        c = x - self.centred * mu
        axes = self.axes if self.variance_axes is None else self.variance_axes
        spread = c if self.centred_square else x
        square = mg.abs(spread) if self.absolute else spread**self.power
        v = mg.mean(square, axes, keepdims=True)
        if self.unbiased:
            n = mg.count(x, axes)
            v = v * (n / (n - 1))
        s = (v + self.eps) ** self.root + self.eps_outside
        y = c / s
        y = y if gamma is None else gamma * y
        return y if beta is None else y + beta


BN, LN = Formula(), Formula(axes=(1,))

MUTANTS = {
    "mean over the other axis": {"axes": (1,), "variance_axes": (0,)},
    "variance over the other axis": {"variance_axes": (1,)},
    "variance over all axes": {"variance_axes": (0, 1)},
    "half of the mean": {"centred": 0.5},
    "twice the mean": {"centred": 2.0},
    "no mean": {"centred": 0.0},
    "square of x": {"centred_square": False},
    "fourth power": {"power": 4.0},
    "third power": {"power": 3.0},
    "cube root": {"root": 1 / 3},
    "no root": {"root": 1.0},
    "fourth root": {"root": 0.25},
    "absolute deviation": {"absolute": True},
    "eps outside of the root": {"eps": 0.0, "eps_outside": EPS},
    "eps twice": {"eps_outside": EPS},
    "another eps": {"eps": 2 * EPS},
    "unbiased": {"unbiased": True},
}


def leaves(*shape):
    x, u = mg.input("x", shape, "float64"), mg.input("u", shape, "float64")
    gamma, beta = mg.input("gamma", shape[1:2], "float64"), mg.input("beta", shape[1:2], "float64")
    return x, u, gamma, beta


def M(x):
    return mg.mean(x, 0)


# --- statements about batch norm, each a function of the formula that should satisfy it ----------


def _textbook(norm: Callable):
    """dx = gamma r (u - M(u) - xhat M(u xhat)), the gradient of ``norm``."""
    x, u, gamma, beta = leaves("N", 4)
    (dx,) = mg.grad(norm(x, gamma, beta), [x], u)
    r = 1 / mg.sqrt(M((x - M(x)) ** 2) + EPS)
    xhat = (x - M(x)) * r
    return dx, gamma * r * (u - M(u) - xhat * M(u * xhat))


def _sums_to_zero(norm: Callable):
    x, u, gamma, beta = leaves("N", 4)
    (dx,) = mg.grad(norm(x, gamma, beta), [x], u)
    return mg.sum(dx, 0), mg.sum(dx, 0) * 0


def _no_bias(norm: Callable):
    """The gradient of a bias before the norm is zero."""
    _, u, gamma, beta = leaves("N", 4)
    z, w = mg.input("z", ("N", 3), "float64"), mg.input("w", (3, 4), "float64")
    bias = mg.input("bias", 4, "float64")
    (db,) = mg.grad(norm(z @ w + bias, gamma, beta), [bias], u)
    return db, db * 0


def _identity(norm: Callable):
    """gamma = sqrt(v + eps) and beta = mu undo the norm."""
    x, *_ = leaves("N", 4)
    v = M((x - M(x)) ** 2)
    return norm(x, mg.sqrt(v + EPS), M(x)), x


def _shift(norm: Callable):
    x, _, gamma, beta = leaves("N", 4)
    a = mg.input("a", 4, "float64")
    return norm(x + a, gamma, beta), norm(x, gamma, beta)


def _second_moment(norm: Callable):
    """M(xhat**2) = v / (v + eps)."""
    x, *_ = leaves("N", 4)
    v = M((x - M(x)) ** 2)
    return M(norm(x) ** 2), v / (v + EPS)


def _along_xhat(norm: Callable):
    """sum dx xhat = gamma r n M(u xhat) eps / (v + eps)."""
    x, u, gamma, beta = leaves("N", 4)
    (dx,) = mg.grad(norm(x, gamma, beta), [x], u)
    v = M((x - M(x)) ** 2)
    r = 1 / mg.sqrt(v + EPS)
    xhat = (x - M(x)) * r
    return mg.sum(dx * xhat, 0), gamma * r * mg.count(x, 0) * M(u * xhat) * EPS / (v + EPS)


def _same_as_ours(norm: Callable):
    x, _, gamma, beta = leaves("N", 4)
    return norm(x, gamma, beta), mg.nn.batch_norm(x, gamma, beta, eps=EPS)


STATEMENTS = {
    f.__name__[1:]: f
    for f in (
        _textbook, _sums_to_zero, _no_bias, _identity, _shift, _second_moment, _along_xhat,
        _same_as_ours,
    )
}  # fmt: skip

# What a mutant still satisfies, rightly: taking a mean away makes any scale shift invariant.
STILL_TRUE = {
    "sums_to_zero": {"absolute deviation", "another eps", "cube root", "eps outside of the root",
                     "eps twice", "fourth power", "fourth root", "no root", "third power",
                     "unbiased", "variance over all axes", "variance over the other axis"},
    "second_moment": set(),
}  # fmt: skip
STILL_TRUE["no_bias"] = STILL_TRUE["shift"] = STILL_TRUE["sums_to_zero"]


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_true_statement_is_proved(name):
    found = mg.prove_equal(*STATEMENTS[name](BN))
    assert found is not None
    assert found.error <= TOLERANCE
    assert found.steps


CASES = [
    (name, mutant)
    for name in STATEMENTS
    for mutant in MUTANTS
    if mutant not in STILL_TRUE.get(name, set())
]


@pytest.mark.parametrize(("name", "mutant"), CASES, ids=lambda v: v)
def test_a_mutant_is_refused(name, mutant):
    a, b = STATEMENTS[name](replace(BN, **MUTANTS[mutant]))
    assert apart(a, b) > 1e-6, "the statement is true of this mutant: it belongs in STILL_TRUE"
    assert mg.prove_equal(a, b) is None


def test_there_are_many_mutants():
    assert len(CASES) >= 40


PROVED = [  # not shown: gradients of the absolute deviation (sign has no algebra), and odd roots
    (name, mutant)
    for name in ("sums_to_zero", "no_bias", "shift")
    for mutant in sorted(STILL_TRUE[name] - {"cube root", "third power"})
    if name == "shift" or mutant != "absolute deviation"
]


@pytest.mark.parametrize(("name", "mutant"), PROVED, ids=lambda v: v)
def test_what_stays_true_of_a_mutant_is_proved_of_it(name, mutant):
    assert mg.prove_equal(*STATEMENTS[name](replace(BN, **MUTANTS[mutant]))) is not None


# --- invariances -----------------------------------------------------------------------------


def scaled_weights(eps):
    """Batch norm behind a linear layer with weights a w and with weights w."""
    z, w = mg.input("z", ("N", 3), "float64"), mg.input("w", (3, 4), "float64")
    a = mg.input("a", (), "float64")
    gamma, beta = mg.input("gamma", 4, "float64"), mg.input("beta", 4, "float64")
    norm = replace(BN, eps=eps)
    return norm(z @ (a * w), gamma, beta), norm(z @ w, gamma, beta), a


@pytest.mark.parametrize("between", [lambda h: h, mg.relu, lambda h: h * h])
def test_a_bias_behind_linear_layers_has_no_gradient_unless_something_stands_between(between):
    x, u = mg.input("x", ("N", 3)), mg.input("u", ("N", 5))
    w, b, v = mg.input("w", (3, 4)), mg.input("b", 4), mg.input("v", (4, 5))
    y = mg.nn.batch_norm(between(x @ w + b) @ v, mg.input("gamma", 5), mg.input("beta", 5))
    (db,) = mg.grad(y, [b], u)
    assert (mg.prove_zero(db) is not None) == (between(b) is b)


def test_the_scale_of_the_weights_does_not_matter_exactly_when_eps_is_zero():
    scaled, plain, a = scaled_weights(0.0)
    assert mg.prove_equal(scaled, plain, positive=[a]) is not None
    assert mg.prove_equal(scaled, plain) is None  # a < 0 turns the sign
    scaled, plain, a = scaled_weights(EPS)
    assert mg.prove_equal(scaled, plain, positive=[a]) is None


def test_with_eps_the_scale_of_the_weights_leaves_this_residue():
    """y(aW) - y(W) = gamma c (a / sqrt(a**2 v + eps) - 1 / sqrt(v + eps)), c and v of zW."""
    z, w = mg.input("z", ("N", 3), "float64"), mg.input("w", (3, 4), "float64")
    gamma, a = mg.input("gamma", 4, "float64"), mg.input("a", (), "float64")
    c = z @ w - M(z @ w)
    v = M(c**2)
    residue = gamma * c * (a / mg.sqrt(a**2 * v + EPS) - 1 / mg.sqrt(v + EPS))
    difference = BN(z @ (a * w), gamma) - BN(z @ w, gamma)
    assert mg.prove_equal(difference, residue, positive=[a]) is not None
    assert mg.prove_equal(difference, 2 * residue, positive=[a]) is None


def test_layer_norm_does_not_see_the_shift_of_an_example_nor_its_scale_without_eps():
    x, _, gamma, beta = leaves("N", 4)
    shift, a = mg.input("shift", ("N", 1), "float64"), mg.input("a", ("N", 1), "float64")
    assert mg.prove_equal(LN(x + shift, gamma, beta), LN(x, gamma, beta)) is not None
    exact = replace(LN, eps=0.0)
    assert mg.prove_equal(exact(a * x), exact(x), positive=[a]) is not None
    assert mg.prove_equal(LN(a * x), LN(x), positive=[a]) is None
    assert mg.prove_equal(BN(x + shift), BN(x)) is None  # batch norm does see it
    column = mg.input("column", 4, "float64")
    assert mg.prove_equal(LN(x + column), LN(x)) is None  # and layer norm sees a shifted feature


def test_softmax_does_not_see_a_shift_and_sums_to_one():
    x, *_ = leaves("N", 4)
    shift = mg.input("shift", ("N", 1), "float64")
    assert mg.prove_equal(mg.softmax(x + shift), mg.softmax(x)) is not None
    assert mg.prove_equal(mg.log_softmax(x + shift), mg.log_softmax(x)) is not None
    one = mg.constant(np.ones((), np.float64))
    assert mg.prove_equal(mg.sum(mg.softmax(x), -1), one) is not None
    assert mg.prove_equal(mg.softmax(2 * x), mg.softmax(x)) is None
    assert mg.prove_equal(mg.sum(mg.softmax(x), 0), one) is None


def test_the_one_pass_variance_is_the_two_pass_variance():
    x, *_ = leaves("N", 4)
    c = x - M(x)
    assert mg.prove_equal(M(x * x) - M(x) ** 2, M(c**2)) is not None
    assert mg.prove_equal(M(x * x) - M(x), M(c**2)) is None


def test_group_norm_of_one_group_is_layer_norm_over_the_rest():
    x = mg.input("x", ("N", 4, 3, 3), "float64")
    grouped = mg.nn.group_norm(x, None, None, groups=1)
    layer = mg.nn.layer_norm(x, None, None, axes=(1, 2, 3))
    assert apart(grouped, layer) < 1e-12


# --- refusals that need care -------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        lambda x, y: (mg.sqrt(x**2), x),
        lambda x, y: (mg.sqrt(x * y), mg.sqrt(x) * mg.sqrt(-y)),
        lambda x, y: ((x**2) ** 0.5, x),
        lambda x, y: (mg.abs(x), x),
        lambda x, y: (mg.exp(x + y), mg.exp(x) + mg.exp(y)),
        lambda x, y: (mg.exp(x * y), mg.exp(x) * mg.exp(y)),
        lambda x, y: (mg.log(x * y), mg.log(x) + mg.log(x)),
        lambda x, y: (mg.mean(x * y, 0), mg.mean(x, 0) * mg.mean(y, 0)),
        lambda x, y: (mg.mean(x, 0), mg.mean(x, 1)),
        lambda x, y: (mg.mean(x), mg.mean(x, 0)),
        lambda x, y: (mg.sum(x, 0), mg.mean(x, 0)),
        lambda x, y: (x @ mg.transpose(y), y @ mg.transpose(x)),
        lambda x, y: (mg.transpose(x) @ y, mg.transpose(y) @ x),
        lambda x, y: (x[1:], x[:3]),
        lambda x, y: (mg.maximum(x, y), x),
        lambda x, y: (mg.pad(x + y, ((1, 1), (0, 0)), value=2.0), mg.pad(x, ((1, 1), (0, 0)))),
        lambda x, y: (mg.mean(mg.max(x, 0)), mg.max(mg.mean(x, 0))),
        lambda x, y: (1 / (x + y), 1 / x + 1 / y),
        lambda x, y: (mg.reshape(x, (2, 8)), mg.reshape(mg.transpose(x), (2, 8))),
    ],
)
def test_a_false_identity_is_refused(statement):
    x, y = mg.input("x", (4, 4), "float64"), mg.input("y", (4, 4), "float64")
    assert mg.prove_equal(*statement(x, y)) is None


def test_a_square_matrix_is_not_its_transpose():
    x = mg.input("x", (4, 4), "float64")
    assert mg.prove_equal(x, mg.transpose(x)) is None
    assert mg.prove_equal(mg.transpose(mg.transpose(x)), x) is not None
    assert mg.prove_equal(mg.mean(x, 0), mg.mean(mg.transpose(x), 1)) is not None
    assert mg.prove_equal(mg.exp(mg.transpose(x)), mg.transpose(mg.exp(x))) is not None


def test_a_statement_about_integers_is_refused_and_a_wrong_argument_is_an_error():
    i = mg.input("i", 3, "int64")
    assert mg.prove_zero(i - i) is None
    with pytest.raises(mg.GraphError, match="not a node"):
        mg.prove_equal(i, 3)


# --- derivations -------------------------------------------------------------------------------


def test_a_derivation_reads_as_the_textbook():
    x, u, gamma, beta = leaves("N", 4)
    y = mg.nn.batch_norm(x, gamma, beta)
    found = mg.simplify([y, *mg.grad(y, [x], u)], proof=True)
    text = str(found)
    assert "with xhat = c * r" in text
    assert (
        found.steps[-1].text.split("   ")[0].endswith("gamma * r * (u - M(u) - M(xhat * u) * xhat)")
    )
    assert "M(x - M(x)) = 0" in found.markdown() or r"M(x - M(x)) = 0" in found.latex()
    assert found.latex().startswith(r"\begin{align*}")
    assert found.error <= 1e-12
    assert "the base is not 0" in found.conditions[0]
    assert isinstance(found.result, list)


def test_every_step_is_checked_and_a_wrong_one_is_an_error():
    x, *_ = leaves("N", 4)
    with pytest.raises(AssertionError, match="went wrong"):
        checked(M(x), M(x) + 1e-3, ["like terms"], named([x]))


def test_each_step_can_be_drawn():
    x, *_ = leaves("N", 4)
    found = mg.prove_zero(M(x - M(x)))
    graph = found.steps[0].graph()
    assert set(graph.outputs) == {"before", "after"}
    assert found.steps[0]._repr_svg_().lstrip().startswith("<")


def test_names_of_the_user_are_used_and_escaped():
    x, *_ = leaves("N", 4)
    mu = M(x)
    found = mg.prove_zero(M(x - mu), names={mu: "<script>"})
    assert "<script>" in str(found)
    assert "<script>" not in found.markdown()


def test_names_that_are_given_to_nodes_are_not_those_of_leaves():
    """A weight called w and an input called t keep their names; sqrt and variance get others."""
    x, w = mg.input("x", ("N", 4), "float64"), mg.input("w", 4, "float64")
    c, mu, t = (mg.input(name, 4, "float64") for name in ("c", "mu", "t"))
    shared = mg.tanh(x * w + c)
    y = BN(shared) * w + c + mu * t
    found = mg.simplify([y, *mg.grad(y * shared, [x], x)], proof=True)
    named = [definition.split(" = ")[0] for definition in found.definitions]
    assert len(named) == len(set(named)) >= 3
    assert not {"x", "w", "c", "mu", "t"} & set(named)
    for step in found.steps:
        called = [text for node, text in step.names.items() if node.inputs]
        assert not {"x", "w", "c", "mu", "t"} & set(called)


def test_leaves_of_one_name_in_two_scopes_differ_in_latex():
    x = mg.input("x", ("N", 4), "float64")
    gammas = []
    for scope in ("bn1", "bn2"):
        with mg.scope(scope):
            gammas.append(mg.parameter("gamma", np.ones(4)))
    first, second = gammas
    latex = mg.prove_equal(first * x + second * x, (second + first) * x).latex()
    assert r"\gamma_{\mathrm{bn1}}" in latex
    assert r"\gamma_{\mathrm{bn2}}" in latex


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: mg.simplify(3), "simplify: 3 is a int, not a graph, a node"),
        (lambda x: mg.simplify(None), "simplify: None is a NoneType, not a graph"),
        (lambda x: mg.simplify({"y": x}), "simplify: 'y' is a str, not a node"),
        (lambda x: mg.simplify(x, proof=True, names={"mu": x}), "names: 'mu' is a str, not a node"),
        (lambda x: mg.simplify(x, proof=True, names={x: 3}), "names: 3 is a int, not a name"),
        (lambda x: mg.prove_zero(x, names=[x]), "names: a list, not a mapping of nodes to names"),
        (lambda x: mg.prove_zero(x, positive=x), "positive: give several nodes, not one"),
        (lambda x: mg.prove_zero(x, positive=["x"]), "positive: 'x' is a str, not a node"),
        (lambda x: mg.prove_zero(x, positive=[x + 1]), "positive: .*add.* is no leaf"),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_an_error_that_says_what_is_wanted(call, message):
    with pytest.raises(mg.GraphError, match=message):
        call(mg.input("x", 3, "float64"))


def test_names_without_a_proof_are_an_error():
    x = mg.input("x", 3, "float64")
    with pytest.raises(mg.GraphError, match="names are for a derivation: add proof=True"):
        mg.simplify(x, names={x: "q"})


def test_what_is_defined_for_positive_numbers_alone_is_tried_there():
    """No draw of forty normal numbers is positive; their roots are to be checked all the same."""
    x, y = mg.input("x", 40, "float64"), mg.input("y", 40, "float64")
    found = mg.simplify(mg.sum(mg.sqrt(x) * 2 * 3), proof=True)
    assert found.error <= TOLERANCE
    apart_means = mg.mean(mg.sqrt(x)) + mg.mean(mg.sqrt(y))
    assert mg.prove_equal(mg.mean(mg.sqrt(x) + mg.sqrt(y)), apart_means) is not None
    assert mg.prove_equal(mg.mean(mg.sqrt(x) - mg.sqrt(y)), apart_means) is None


def test_what_is_defined_nowhere_cannot_be_derived():
    x = mg.input("x", 3, "float64")
    nowhere = mg.log(-mg.exp(x))
    assert mg.prove_zero(nowhere - nowhere) is None
    with pytest.raises(mg.GraphError, match=r"no random point lies where .* is defined"):
        mg.simplify(nowhere * 2 * 3, proof=True)
