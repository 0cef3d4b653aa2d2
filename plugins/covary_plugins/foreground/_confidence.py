"""How sure a rule is of a verdict: one definition for all rules.

A rule weighs one number of each cluster, its evidence, against a threshold. The evidence reads as
odds, ``e / (limit - e)``; divided by those of the threshold they are the odds that the cluster is
on the side of large evidence: a probability of 0 at no evidence, 0.5 at the threshold, and 1 at the
limit. The confidence of a verdict is the probability of the side that was taken.
"""

from __future__ import annotations

from math import inf

import torch

from covary import ClusterMap

__all__ = ["confidence", "probability"]


def probability(
    evidence: torch.Tensor, threshold: float | torch.Tensor, limit: float = inf
) -> torch.Tensor:
    """The probability that evidence is on the large side of a threshold, float64, as evidence.

    Args:
        evidence: in 0..limit, any shape.
        threshold: in 0..limit, one for all or one for each; where it is 0 or ``limit``, evidence
            equal to it is a toss-up.
        limit: the largest evidence there can be.
    """
    e = evidence.to(torch.float64)
    t = torch.as_tensor(threshold, dtype=torch.float64, device=e.device).expand_as(e)
    above, below = (e, t) if limit == inf else (e * (limit - t), t * (limit - e))
    total = above + below
    return torch.where(total > 0, above / total.clamp(min=torch.finfo(e.dtype).tiny), 0.5)


def confidence(
    clusters: ClusterMap, chosen: torch.Tensor, foreground: torch.Tensor
) -> torch.Tensor:
    """How sure the verdict on each cluster is, float32 (K,) in 0..1.

    Args:
        clusters: what was judged; of a cluster without pixels nothing is known, which is 0.5.
        chosen: bool (K,), the verdicts.
        foreground: (K,), the probability that each cluster is foreground.
    """
    sure = torch.where(chosen, foreground, 1 - foreground)
    return torch.where(clusters.counts > 0, sure, 0.5).to(torch.float32)
