"""The rules, one row each: what is found, why it matters and who says so, what to do."""

from __future__ import annotations

from .finding import Rule
from .gradients import bias_before_norm, blind_loss, detached_statistic
from .moments import eps_outside_root, one_pass_variance, root_without_eps, unbiased_of_one
from .updates import decayed_norm_weights, stuck_statistic

RULES: tuple[Rule, ...] = (
    Rule(
        "one-pass-variance",
        "a variance computed as E[x^2] - E[x]^2",
        "two large numbers cancel: in float32 with mean 1e4 and std 0.1 it gives 8.0 where 0.00997 "
        "is right, or a negative number and NaN from the root (Chan, Golub and LeVeque 1983; "
        "google/flax#1491)",
        "write mg.var(x, axes), the mean squared distance from the mean",
        one_pass_variance,
    ),
    Rule(
        "root-without-eps",
        "a root of a variance or of a sum of squares that may be 0",
        "a constant channel has variance 0: dividing by its root is infinite, and the gradient of "
        "a root at 0 is infinite too (Ioffe and Szegedy 2015, Algorithm 1, adds eps to the "
        "variance)",
        "write mg.sqrt(v + eps), with the eps under the root",
        root_without_eps,
    ),
    Rule(
        "eps-outside-root",
        "a normaliser that divides by sqrt(v) + eps",
        "the gradient of sqrt at v = 0 is infinite whatever is added after it, and weights do not "
        "carry over to frameworks, which all follow Ioffe and Szegedy 2015, Algorithm 1",
        "move the eps under the root: mg.sqrt(v + eps)",
        eps_outside_root,
    ),
    Rule(
        "unbiased-of-one",
        "a division by n - 1 where n is 1, or may be",
        "the unbiased variance of one element does not exist; 0/0 is NaN, and a running variance "
        "that was NaN once is NaN for ever (pytorch#1206, #1381)",
        "take n from mg.count(x, axes, at_least=2), which says so, or divide by n",
        unbiased_of_one,
    ),
    Rule(
        "bias-before-norm",
        "a parameter added to what a norm takes the mean of",
        "the mean takes any constant away, so that the bias costs memory and time, has a gradient "
        "of rounding errors and drifts under Adam (Ioffe and Szegedy 2015, section 3.2)",
        "make the layer with bias=False; beta does the work",
        bias_before_norm,
    ),
    Rule(
        "detached-statistic",
        "a mean or variance behind stop_gradient that the value depends on",
        "the gradient is no longer that of the value: terms through mean and variance are what "
        "keeps batch norm from growing its weights (Ioffe and Szegedy 2015, section 2), and "
        "a second derivative misses them too",
        "take stop_gradient away; for fixed statistics use statistics='running'",
        detached_statistic,
    ),
    Rule(
        "blind-loss",
        "a loss that does not see what enters a norm",
        "sum(y), and for eps = 0 mean(y**2), are the same for every x: a test with such a loss "
        "passes with any gradient, and training with it learns nothing below the norm "
        "(torch/nn#744)",
        "weight the outputs differently: mg.sum(y * w) with random w, or compare with a target",
        blind_loss,
    ),
    Rule(
        "decayed-norm-weights",
        "weight decay on the gamma or beta of a norm",
        "decay limits the scale of a function, which the norm makes independent of the weights "
        "before it; on gamma and beta it only pulls the output to 0 (Jia et al. 2018, section 3.2; "
        "torch7#846)",
        "make them with weight_decay=False, as mg.nn does, and leave out decay_all=True",
        decayed_norm_weights,
    ),
    Rule(
        "stuck-statistic",
        "a state that stands for a batch statistic and does not follow it",
        "inference reads where the state began, mean 0 and variance 1, and answers differently "
        "from training (flax#932, equinox#659)",
        "track(statistic, running, decay * running + (1 - decay) * statistic), with a decay "
        "below 1; for frozen statistics use statistics='running'",
        stuck_statistic,
    ),
)
