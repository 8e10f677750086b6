"""Evidence that may be looked at all the time: a mixture of likelihood ratios, kept in logarithms.

An e-process E for a hypothesis H0 has an expected value of at most 1 at every stopping time under H0. By Ville's inequality
the chance under H0 that E ever reaches 1/alpha is at most alpha, however often somebody looks. A product of likelihood
ratios, one per disjoint window, is one; so is every average of such products.

Two averages are kept, over J alternatives of equal weight pi = 1/J, L_ij being what window i says for alternative j:

    whole run    W   = sum_j pi * prod_i L_ij                        finds what was wrong from the start
    restarted    A_j <- (A_j + pi/T) * L_ij                          (Shiryaev-Roberts: every window may be the first bad one)
                 R   = sum_j A_j + max(0, T - t)/T                   finds what becomes wrong at hour 20
    together     E   = W/2 + R/2

T is the number of windows that the plan foresees, t how many were seen. After T nothing is restarted: beyond the plan the
restarts would cost validity (each adds 1/T, and only T of them average to 1).

Sources: Ville 1939; Lindon & Malek, NeurIPS 2022, arXiv:2011.03567; Johari et al., arXiv:1512.04922; Shin, Ramdas & Rinaldo,
E-detectors, arXiv:2203.03532.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

E_CEILING = 1e300
"""Where an e-value is cut off: evidence beyond it says nothing more, and a finite number can be stored and drawn."""
LOG_CEILING = math.log(E_CEILING)
LOG_OF_NOTHING = -1e9
"""Stands for log 0. exp() of it is 0, and unlike minus infinity it survives JSON."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """Evidence so far: `t` windows seen, and the logs of both averages' components, `pi` included in the restarted ones."""

    t: int
    whole: tuple[float, ...]
    restarted: tuple[float, ...]


def begin(alternatives: int) -> Mixture:
    """Evidence before the first window: 1 for the whole run, and all of the restarts still to come."""
    return Mixture(0, (0.0,) * alternatives, (LOG_OF_NOTHING,) * alternatives)


def advance(mixture: Mixture, factors: Sequence[float] | None, planned: int) -> Mixture:
    """Add one window: `factors` are the logs of its likelihood ratios, None when the window says nothing (t advances)."""
    restarted = mixture.restarted
    if mixture.t < planned:
        fresh = -math.log(planned * len(restarted))
        restarted = tuple([max(a, fresh) + math.log1p(math.exp(-abs(a - fresh))) for a in restarted])
    if factors is None:
        return Mixture(mixture.t + 1, mixture.whole, restarted)
    whole = tuple([w + f for w, f in zip(mixture.whole, factors, strict=True)])
    return Mixture(mixture.t + 1, whole, tuple([a + f for a, f in zip(restarted, factors, strict=True)]))


def whole_run(mixture: Mixture) -> float:
    """W: the e-value of "wrong from the start" alone."""
    return _exp(log_sum(mixture.whole) - math.log(len(mixture.whole)))


def e_value(mixture: Mixture, planned: int) -> float:
    """E = W/2 + R/2, cut off at `E_CEILING`."""
    to_come = max(0, planned - mixture.t) / planned
    restarted = _exp(log_sum(mixture.restarted)) + to_come
    return min(E_CEILING, whole_run(mixture) / 2 + restarted / 2)


def log_sum(logs: Sequence[float]) -> float:
    """log(sum(exp(x))) without overflow: `log_sum((0, 0)) == log 2`."""
    top = max(logs)
    return top + math.log(sum([math.exp(x - top) for x in logs]))


def _exp(x: float) -> float:
    """Take exp(x), cut off at `E_CEILING`."""
    return math.exp(x) if x < LOG_CEILING else E_CEILING
