"""Lecture notes that derive themselves: the gradient of a normaliser, and what can be proved of it.

    python tools/derive.py bn                       # tools/notes/bn.md, with its pictures
    python tools/derive.py --all                    # every note that the README links to
    python tools/derive.py ln --out notes
    python tools/derive.py mine.py:my_norm --shape N,4

A note has the formula, its gradient step by step, the closed form that comes out, and statements
(a bias before batch norm has no gradient, the scale of the weights does not matter without eps)
with their proofs. Nothing in it is written by hand: `mg.grad` makes the gradient, `mg.simplify`
the closed form, `mg.prove_equal` the proofs, and every step is tried in float64 at random points.
A statement that is not true is not in the note: the tool says so and exits with 1.

`mine.py:my_norm` is a function of one node, x, that builds your own normaliser from primitives and
returns a node; its parameters are found. You get the gradient, its closed form, and the pictures.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import minigrad as mg
from minigrad.ir.files import write_whole

NOTES = Path(__file__).resolve().parent / "notes"
EPS = 1e-3


class NoteError(Exception):
    """A note cannot be written: a wrong name or file, or a statement that was not shown."""


@dataclass(frozen=True)
class Claim:
    """A statement in words, and the two nodes that are equal if it holds; None is zero."""

    words: str
    left: mg.Node
    right: mg.Node | None = None
    positive: tuple[mg.Node, ...] = ()
    names: tuple[tuple[str, mg.Node], ...] = ()

    def proof(self) -> mg.Derivation | None:
        """How it is shown, if it is."""
        names = {node: name for name, node in self.names}
        if self.right is None:
            return mg.prove_zero(self.left, positive=self.positive, names=names)
        return mg.prove_equal(self.left, self.right, positive=self.positive, names=names)


@dataclass(frozen=True)
class Subject:
    """What a note is about: input, cotangent, the steps of the formula by name, and the output."""

    title: str
    source: str
    x: mg.Node
    u: mg.Node
    marks: dict[str, mg.Node]
    y: mg.Node
    claims: tuple[Claim, ...] = ()


def normaliser(
    title: str, source: str, shape: tuple[mg.ir.Dim, ...], axes: tuple[int, ...]
) -> Subject:
    """Mean, variance, scale and shift over ``axes``, each step by the paper's letter."""
    x, u = mg.input("x", shape), mg.input("u", shape)
    features = [mg.input(n, shape[1:2] + (1,) * (len(shape) - 2)) for n in ("gamma", "beta")]
    gamma, beta = features
    keep = axes != tuple(range(len(axes)))
    mu = mg.mean(x, axes, keepdims=keep)
    c = x - mu
    v = mg.mean(c**2, axes, keepdims=keep)
    s = mg.sqrt(v + EPS)
    r = s**-1
    xhat = c * r
    y = gamma * xhat + beta
    marks = {"xhat": xhat, "r": r, "s": s, "v": v, "c": c, "mu": mu, "gamma": gamma, "beta": beta}
    claims = tuple(_claims(x, u, gamma, beta, axes, keep))
    return Subject(title, source, x, u, marks, y, claims)


def _claims(
    x: mg.Node, u: mg.Node, gamma: mg.Node, beta: mg.Node, axes: tuple[int, ...], keep: bool
) -> Iterator[Claim]:
    def mean(t: mg.Node) -> mg.Node:
        return mg.mean(t, axes, keepdims=keep)

    def norm(t: mg.Node, eps: float = EPS) -> mg.Node:
        return mg.nn.batch_norm(t, gamma, beta, axes=axes, eps=eps)

    v = mean((x - mean(x)) ** 2)
    (dx,) = mg.grad(norm(x), [x], u)
    plain = mg.nn.batch_norm(x, None, None, axes=axes, eps=EPS)
    n = mg.count(x, axes)
    yield Claim(
        "The gradient sums to zero: a shift of x changes nothing.", mean(dx), names=(("∂x", dx),)
    )
    yield Claim("The normalised values have mean zero.", mean(plain))
    yield Claim("Their second moment is v / (v + eps), a little below one.",
                mean(plain**2), v / (v + EPS))  # fmt: skip
    shift = mg.input("a", v.shape)
    yield Claim("A shift of x, the same along the reduced axes, is taken away.",
                norm(x + shift), norm(x))  # fmt: skip
    yield Claim("Without eps, a positive scale of x is taken away too.",
                norm(shift * x, 0.0), norm(x, 0.0), (shift,))  # fmt: skip
    if axes[0] != 0:
        return
    xhat = (x - mean(x)) / mg.sqrt(v + EPS)
    yield Claim(
        "Along xhat the gradient is what eps leaves over: nothing, if eps were zero.",
        mg.sum(dx * xhat, axes, keepdims=keep),
        gamma / mg.sqrt(v + EPS) * n * mean(u * xhat) * EPS / (v + EPS),
        names=(("∂x", dx),),
    )
    yield Claim("gamma = sqrt(v + eps) and beta = mu give back x: the network can undo the norm.",
                mg.nn.batch_norm(x, mg.sqrt(v + EPS), mean(x), axes=axes, eps=EPS), x)  # fmt: skip
    if len(x.shape) == 2:
        z, w, bias = (
            mg.input("z", ("N", 3)),
            mg.input("W", (3, *x.shape[1:])),
            mg.input("b", x.shape[1:]),
        )
        (db,) = mg.grad(norm(z @ w + bias), [bias], u)
        yield Claim("A bias before the norm has no gradient.", db)


def rms() -> Subject:
    x, u, gamma = mg.input("x", ("N", "C")), mg.input("u", ("N", "C")), mg.input("gamma", ("C",))
    q = mg.mean(x**2, -1, keepdims=True)
    r = mg.sqrt(q + EPS) ** -1
    xhat = x * r
    marks = {"xhat": xhat, "r": r, "q": q, "gamma": gamma}
    return Subject("RMS normalisation", "Zhang & Sennrich 2019, eq. 4", x, u, marks, gamma * xhat)


def softmax() -> Subject:
    x, u = mg.input("x", ("N", "C")), mg.input("u", ("N", "C"))
    e = mg.exp(x - mg.stop_gradient(mg.max(x, -1, keepdims=True)))
    total = mg.sum(e, -1, keepdims=True)
    y = e / total
    a = mg.input("a", ("N", 1))
    claims = (
        Claim("A shift of a row changes nothing.", mg.softmax(x + a), mg.softmax(x)),
        Claim("Every row sums to one.", mg.sum(mg.softmax(x), -1), mg.constant(1.0)),
    )
    return Subject("Softmax", "Bridle 1990", x, u, {"e": e, "S": total}, y, claims)


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "bn": lambda: normaliser("Batch normalisation", "Ioffe & Szegedy 2015", ("N", "C"), (0,)),
    "bn2d": lambda: normaliser(
        "Batch normalisation of images", "Ioffe & Szegedy 2015, section 3.2",
        ("N", "C", "H", "W"), (0, 2, 3),
    ),
    "ln": lambda: normaliser("Layer normalisation", "Ba, Kiros & Hinton 2016", ("N", "C"), (1,)),
    "in": lambda: normaliser(
        "Instance normalisation", "Ulyanov, Vedaldi & Lempitsky 2016", ("N", "C", "H", "W"), (2, 3)
    ),
    "rms": rms,
    "softmax": softmax,
}  # fmt: skip


def own(text: str, shape: str) -> Subject:
    """The subject of ``file.py:function``."""
    path, _, name = text.rpartition(":")
    file = Path(path)
    if not file.is_file():
        raise NoteError(
            f"there is no note {text!r}; try {', '.join(SUBJECTS)}, or file.py:function"
        )
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise NoteError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise NoteError(f"{file} has no function {name!r}")
    dims = tuple(int(d) if d.isdigit() else d for d in shape.split(",") if d)
    x, u = mg.input("x", dims), mg.input("u", dims)
    y = function(x)
    if not isinstance(y, mg.Node) or y.shape != x.shape:
        raise NoteError(
            f"{name}(x) must give a node of the shape of x, {list(dims)}; it gave {y!r}"
        )
    marks = {p.name: p for p in mg.Graph((), y).parameters}
    return Subject(name, str(file), x, u, marks, y)


def write(name: str, subject: Subject, folder: Path) -> Path:
    """Write the note and its pictures; NoteError when a claim was not shown."""
    folder.mkdir(parents=True, exist_ok=True)
    reached = {k: n for k, n in subject.marks.items() if n is not subject.x}
    raw = mg.grad(subject.y, [*reached.values(), subject.x], subject.u)
    names = dict(zip(raw, [*(f"∂{k}" for k in reached), "∂x"], strict=True))
    names.update({n: k for k, n in subject.marks.items() if n.inputs})
    leaves = [d for d, n in zip(raw, [*reached.values(), subject.x], strict=True) if not n.inputs]
    roots = [subject.y, *leaves]
    derivation = mg.simplify(roots, proof=True, names=names)
    before, after = mg.simplify([subject.y, raw[-1]]), [subject.y, raw[-1]]
    pictures = {}
    for label, nodes in (("raw", after), ("simplified", before)):
        pictures[label] = f"{name}-{label}.svg"
        graph = mg.Graph((), dict(zip(("y", "dx"), nodes, strict=True)))
        mg.render(graph, folder / pictures[label], gradients=True)
    target = folder / f"{name}.md"
    write_whole(target, "\n".join(_lines(name, subject, derivation, pictures)) + "\n")
    return target


def _lines(
    name: str, subject: Subject, derivation: mg.Derivation, pictures: dict[str, str]
) -> Iterator[str]:
    yield f"# {subject.title}"
    yield ""
    yield f"{subject.source}. Written by `python tools/derive.py {name}`: derived, proved and tried"
    yield "in float64 by minigrad; M is the mean over the reduced axes, u the cotangent of y, and a"
    yield "bar the gradient of the loss."
    yield ""
    yield "## The gradient"
    yield ""
    yield derivation.markdown()
    yield ""
    yield "| as reverse mode writes it | simplified |"
    yield "|---|---|"
    yield f"| ![raw]({pictures['raw']}) | ![simplified]({pictures['simplified']}) |"
    for claim in subject.claims:
        proof = claim.proof()
        if proof is None:
            raise NoteError(f"{name}: not shown: {claim.words}")
        yield ""
        yield f"## {claim.words}"
        yield ""
        yield proof.markdown()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"{', '.join(SUBJECTS)}, or file.py:function")
    parser.add_argument("--all", action="store_true", help="every note")
    parser.add_argument("--out", type=Path, default=NOTES, help="folder to write to")
    parser.add_argument("--shape", default="N,C", help="of x, for a function of your own")
    chosen = parser.parse_args(argv)
    names = list(SUBJECTS) if chosen.all else chosen.names
    if not names:
        parser.error("name a note, or --all")
    try:
        for name in names:
            subject = SUBJECTS[name]() if name in SUBJECTS else own(name, chosen.shape)
            label = name if name in SUBJECTS else name.rpartition(":")[2]
            print(write(label, subject, chosen.out))
    except (NoteError, mg.GraphError) as error:
        print(f"derive: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
