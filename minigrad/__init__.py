"""minigrad: a glass-box autodiff engine in which batch normalisation emerges from primitives."""

from .autodiff import grad, jvp, value_and_grad, vjp
from .backends import Executable, compile, evaluate
from .functional import *  # noqa: F403
from .ir import Graph, GraphError, Kind, Node, Primitive, Scope, TensorType, Update, scope
from .passes import retype, scalarize, to_inference
from .primitives import *  # noqa: F403
from .render import render
from .train import accuracy, checkpoint, data, fit, load, load_run, optim, predict, save
from .train import save_run, schedule
