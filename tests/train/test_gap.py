"""The train/inference difference by cause: closed forms, single causes, and the sum."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

EPS = {"keras": 1e-3, "pytorch": 1e-5}


def one_layer(convention="pytorch", **options):
    x = mg.input("x", ("N", 3), "float64")
    return mg.Graph([x], {"y": nn.BatchNorm(3, name="bn", convention=convention, **options)(x)})


def batches(count=6, size=8, seed=0):
    rng = np.random.default_rng(seed)
    return [{"x": rng.normal(rng.normal(size=3), 2, (size, 3))} for _ in range(count)]


def some_state(graph, seed=5):
    rng = np.random.default_rng(seed)
    start = mg.compile(graph, "interpreter").init_state()
    return {
        name: rng.uniform(0.5, 2, v.shape).astype(v.dtype) if v.dtype.kind == "f" else v
        for name, v in start.items()
    }


def assert_sums(gap):
    for name, whole in gap.whole.items():
        total = sum(gap.terms[name].values())
        np.testing.assert_allclose(total, whole, rtol=0, atol=1e-13 * np.abs(whole).max() + 1e-15)
        assert sum(gap.share(name, cause) for cause in gap.terms[name]) == pytest.approx(1.0)


@pytest.mark.parametrize("convention", ["keras", "pytorch"])
def test_the_terms_of_one_layer_are_their_closed_forms(convention):
    graph, population, eps = one_layer(convention), batches(), EPS[convention]
    state, x = some_state(graph), batches(1, seed=9)[0]["x"]
    gap = mg.explain_gap(graph, None, {"x": x}, state, population)
    m = np.mean([b["x"].mean(0) for b in population], axis=0)
    v = np.mean([b["x"].var(0) for b in population], axis=0)
    w = v * 8 / 7 if convention == "pytorch" else v
    running = state["bn/running_mean"], state["bn/running_var"]

    def y(mean, var):
        return (x - mean) / np.sqrt(var + np.float64(np.float32(eps))) * state["bn/gamma"]

    stages = [y(x.mean(0), x.var(0)), y(m, v), y(m, w), y(*running)]
    wanted = dict(zip(("batch noise", "Bessel factor", "EMA lag"), np.diff(stages, axis=0),
                      strict=True))  # fmt: skip
    for cause, term in wanted.items():
        np.testing.assert_allclose(gap.terms["y"][cause], term, rtol=1e-9, atol=1e-12)
    assert not gap.terms["y"]["eps"].any()
    assert_sums(gap)
    row = gap.statistics["bn/running_var"]
    np.testing.assert_allclose(row["batch"], x.var(0), rtol=1e-12)
    np.testing.assert_allclose(row["expected"], v, rtol=1e-12)
    np.testing.assert_allclose(row["tracked"], w, rtol=1e-12)
    np.testing.assert_array_equal(row["running"], running[1])


def test_a_batch_that_is_the_population_has_no_noise():
    graph, batch = one_layer(), batches(1)[0]
    gap = mg.explain_gap(graph, None, batch, some_state(graph), [batch, batch])
    np.testing.assert_allclose(gap.terms["y"]["batch noise"], 0, atol=1e-13)
    assert np.abs(gap.terms["y"]["Bessel factor"]).max() > 0.01
    assert np.abs(gap.terms["y"]["EMA lag"]).max() > 0.01


def test_a_long_run_over_fixed_batches_has_no_lag_but_the_order_of_the_last():
    graph, batch = one_layer(decay=0.5), batches(1)[0]
    step = mg.compile(graph, "interpreter")
    state = step.init_state()
    for _ in range(60):
        _, state = step(state, **batch)
    gap = mg.explain_gap(graph, None, batch, state, [batch])
    np.testing.assert_allclose(gap.terms["y"]["EMA lag"], 0, atol=1e-12)
    assert gap.share("y", "Bessel factor") == pytest.approx(1.0, abs=1e-6)


def test_another_eps_at_inference_is_its_own_term():
    graph, population = one_layer("keras"), batches()
    other = mg.to_inference(one_layer("keras", eps=0.5))
    state = some_state(graph)
    gap = mg.explain_gap(graph, other, population[0], state, population)
    same = mg.explain_gap(graph, None, population[0], state, population)
    x, m, s = population[0]["x"], state["bn/running_mean"], state["bn/running_var"]
    wanted = (x - m) / np.sqrt(s + 0.5) - (x - m) / np.sqrt(s + np.float64(np.float32(1e-3)))
    np.testing.assert_allclose(gap.terms["y"]["eps"], wanted * state["bn/gamma"], rtol=1e-9)
    np.testing.assert_array_equal(gap.terms["y"]["EMA lag"], same.terms["y"]["EMA lag"])
    assert "other differences" not in gap.terms["y"]
    assert_sums(gap)


def test_a_graph_of_another_structure_is_compared_and_said_to_be():
    graph, population = one_layer(), batches()
    state = some_state(graph)
    plain = mg.to_inference(graph)
    moved = mg.Graph(plain.inputs, {"y": plain.outputs["y"] * 1.25})
    gap = mg.explain_gap(graph, moved, population[0], state, population)
    np.testing.assert_allclose(
        gap.terms["y"]["other differences"], (gap.whole["y"] - 0) - sum(
            t for c, t in gap.terms["y"].items() if c != "other differences"), atol=1e-13,
    )  # fmt: skip
    assert "another structure" in gap.notes[0]
    assert_sums(gap)


def deep(x, dropout=0.0):
    h = nn.BatchNorm(6, name="bn1", convention="pytorch")(nn.Linear(6, name="l1")(x))
    h = mg.relu(h)
    if dropout:
        h = mg.dropout(h, dropout, mg.Generator(3))
    return nn.BatchNorm(2, name="bn2")(nn.Linear(2, name="l2")(h))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_deep_model_sums_too_and_dropout_is_a_cause_of_its_own(dropout):
    x = mg.input("x", ("N", 3))
    y = deep(x, dropout)
    graph = mg.optim.sgd(mg.Graph([x], {"y": y, "loss": mg.mean(y**3)}), lr=0.1)
    population = batches()
    gap = mg.explain_gap(graph, None, population[1], some_state(graph), population)
    assert list(gap.whole) == ["y", "loss"]
    assert ("replaced at inference" in gap.terms["y"]) == bool(dropout)
    assert_sums(gap)
    # without Bessel's factor the term is zero: bn2's convention has none, bn1's has
    row = gap.statistics
    np.testing.assert_array_equal(row["bn2/running_var"]["expected"],
                                  row["bn2/running_var"]["tracked"])  # fmt: skip
    ratio = row["bn1/running_var"]["tracked"] / row["bn1/running_var"]["expected"]
    np.testing.assert_allclose(ratio, 8 / 7, rtol=1e-12)


@pytest.mark.parametrize("build", [
    lambda x: nn.BatchRenorm(3, name="bn", plain_steps=0, r_steps=0, d_steps=0)(x),
    lambda x: nn.GhostBatchNorm(3, name="bn", ghost=4)(x),
    lambda x: (lambda bn: bn(x) + bn(x * 2.0))(nn.BatchNorm(3, name="bn")),
    lambda x: nn.BatchNorm(3, name="bn", decay=1.0)(x),
    lambda x: nn.BatchNorm(3, name="bn", decay="cumulative")(x),
], ids=["renorm", "ghost", "shared", "stuck", "cumulative"])  # fmt: skip
def test_every_kind_of_layer_sums(build):
    x = mg.input("x", (8, 3))
    graph = mg.Graph([x], {"y": build(x)})
    gap = mg.explain_gap(graph, None, batches(1, seed=3)[0], some_state(graph), batches())
    assert_sums(gap)


def test_a_frozen_layer_has_no_gap():
    graph = one_layer(statistics="running")
    gap = mg.explain_gap(graph, None, batches(1, seed=3)[0], some_state(graph), batches())
    assert not any(term.any() for term in gap.terms["y"].values())


def test_it_prints_a_table():
    graph, population = one_layer(), batches()
    text = str(mg.explain_gap(graph, None, population[0], some_state(graph), population))
    for words in ("y: inference - training", "batch noise", "EMA lag", "100.0%",
                  "bn/running_var", "statistics (rms)"):  # fmt: skip
        assert words in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_data_set_is_a_population():
    x, t = mg.input("x", ("N", 3)), mg.input("t", "N", "int64")
    logits = deep(x)
    graph = mg.Graph([x, t], {"logits": logits, "loss": mg.cross_entropy(logits, t)})
    values = np.concatenate([b["x"] for b in batches()])
    data = mg.data.Dataset(values, np.arange(48) % 2)
    part = data.take(range(8))
    gap = mg.explain_gap(graph, None, {"x": part.x, "t": part.t}, some_state(graph), data,
                         batch_size=16)  # fmt: skip
    assert set(gap.whole) == {"logits", "loss"}
    assert_sums(gap)


@pytest.mark.parametrize(("change", "message"), [
    ({"train": lambda g: mg.to_inference(g)}, "tracks no running statistics"),
    ({"population": lambda g: []}, "holds no batch"),
    ({"outputs": lambda g: ["z"]}, "no float output 'z' in both graphs; there is y"),
])  # fmt: skip
def test_a_bad_request_is_refused(change, message):
    graph = one_layer()
    given = {"train": graph, "population": batches(), **{k: f(graph) for k, f in change.items()}}
    with pytest.raises(mg.GraphError, match=message):
        mg.explain_gap(infer=None, batch=batches(1)[0], state=some_state(graph), **given)
