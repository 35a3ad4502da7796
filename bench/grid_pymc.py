"""The reference that `tests/stats/test_hierarchical.py` pins the model of a grid to: the same model, sampled by PyMC.

Run in an environment of its own: pip install pymc; python bench/grid_pymc.py. It prints the figures that stand in the
test. PyMC is no dependency of the package.
"""

import numpy as np
import pymc as pm
import pytensor.tensor as pt

ATTACKS, TARGETS, BEHAVIORS, LIMIT, SLAB = 4, 3, 40, 0.1, 0.02
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(21)


def data() -> np.ndarray:
    """Which behaviors each cell breaks, of shape (cells, behaviors), cells by attack and then target."""
    rng = np.random.default_rng(17)
    theta = -2.6 + rng.normal(0, 0.8, ATTACKS)[:, None] + rng.normal(0, 0.5, TARGETS)[None, :]
    theta = theta.ravel() + rng.normal(0, 0.3, ATTACKS * TARGETS)
    chance = 1 / (1 + np.exp(-(theta[:, None] + rng.normal(0, 1, BEHAVIORS)[None, :])))
    return (rng.random(chance.shape) < chance).astype(int)


def main() -> None:
    broken = data()
    attack, target = np.divmod(np.arange(ATTACKS * TARGETS), TARGETS)
    with pm.Model():
        center = pm.Normal("center", -2.2, 2.0)
        sd = {name: pt.sqrt(pm.InverseGamma(name, 1.0, 0.25)) for name in ("attack", "target", "own", "behavior")}
        of_attack = pm.Normal("of_attack", 0, 1, shape=ATTACKS) * sd["attack"]
        of_target = pm.Normal("of_target", 0, 1, shape=TARGETS) * sd["target"]
        beta = pm.Normal("beta", 0, 1, shape=BEHAVIORS) * sd["behavior"]
        theta = pm.Flat("theta", shape=ATTACKS * TARGETS, initval=np.full(ATTACKS * TARGETS, -2.2))
        chance = pm.math.sigmoid(theta[:, None] + sd["behavior"] * NODES[None, :])
        asr = pm.Deterministic("asr", pt.dot(chance, WEIGHTS / WEIGHTS.sum()))
        slope = pt.dot(chance * (1 - chance), WEIGHTS / WEIGHTS.sum())
        known = pm.logp(pm.Normal.dist(center + of_attack[attack] + of_target[target], sd["own"]), theta)
        alone = pm.logp(pm.Beta.dist(1, 4), asr) + pt.log(slope)
        pm.Potential("prior", pt.logaddexp(np.log(1 - SLAB) + known, np.log(SLAB) + alone).sum())
        pm.Bernoulli("broken", logit_p=theta[:, None] + beta[None, :], observed=broken)
        trace = pm.sample(2000, tune=1500, chains=2, cores=1, random_seed=5, target_accept=0.95, progressbar=False)
    samples = trace.posterior["asr"].values.reshape(-1, ATTACKS * TARGETS)
    print("broken", broken.sum(axis=1).tolist())
    print("asr", samples.mean(axis=0).round(4).tolist())
    print("above", (samples > LIMIT).mean(axis=0).round(3).tolist())


if __name__ == "__main__":
    main()
