"""Foreground by the vote of several rules."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Self, cast

from pydantic import Field, model_validator

import covary
from covary import ForegroundRule, InputError, Spec, SupportsRegions

if TYPE_CHECKING:
    import torch

    from covary import ClusterMap, Foreground, RunContext

__all__ = ["Vote"]


class Vote(ForegroundRule):
    """Several rules combined: each cluster goes to the side that they are surer of.

    A rule's verdict with its confidence is a probability that a cluster is foreground; the vote
    is their weighted mean, and a cluster is foreground where it exceeds one half. At one half
    exactly the weights of the verdicts decide, and after them the background. A rule that finds
    nothing abstains; where all abstain nothing is found. A rule that does not say how sure it is
    counts as sure.

    A cluster's score is its mean probability.
    """

    class Params(covary.Params):
        rules: Annotated[tuple[Spec, ...], Field(min_length=1)] = Field(
            (Spec(use="border"), Spec(use="corner"), Spec(use="saliency")),
            description="Foreground rules by name, with their parameters.",
        )
        weights: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] | None = Field(
            None, description="What each rule's vote counts, in their order. Unset: all the same."
        )

        @model_validator(mode="after")
        def _a_weight_for_each(self) -> Self:
            if self.weights is not None and len(self.weights) != len(self.rules):
                raise ValueError(f"{len(self.rules)} weights, one for each rule")
            return self

    params: Params

    def select(
        self, clusters: ClusterMap, image: torch.Tensor, ctx: RunContext | None = None
    ) -> Foreground:
        """Choose the clusters that the rules together hold for foreground.

        Raises:
            InputError: a rule works in boxes of its own, or as the rules do.
        """
        import torch

        from covary import Foreground

        from ._confidence import confidence
        from ._sizes import check_same_size

        check_same_size(clusters, image)
        verdicts = [rule.select(clusters, image, ctx) for rule in self._rules]
        weights = self.params.weights or (1.0,) * len(verdicts)
        voting = [(v, w) for v, w in zip(verdicts, weights, strict=True) if v.found]
        zero = torch.zeros(clusters.k, dtype=torch.float64, device=clusters.labels.device)
        total = sum(weight for _, weight in voting) or 1.0
        # Clamped, as a mean of ones may round to a little more than one.
        believed = (sum((w * _probability(v) for v, w in voting), zero) / total).clamp(0, 1)
        verdict = sum((w * v.clusters.to(torch.float64) for v, w in voting), zero) / total
        tied = believed == 0.5
        chosen = (clusters.counts > 0) & torch.where(tied, verdict > 0.5, believed > 0.5)
        reason = "; ".join(
            f"{spec.use} {'votes' if v.found else 'abstains'}: {v.reason}"
            for spec, v in zip(self.params.rules, verdicts, strict=True)
        )
        sure = confidence(clusters, chosen, believed)
        return Foreground.from_clusters(clusters, chosen, believed, reason, sure)

    @cached_property
    def _rules(self) -> tuple[ForegroundRule, ...]:
        rules = tuple(cast(ForegroundRule, s.create("foreground")) for s in self.params.rules)
        for spec, rule in zip(self.params.rules, rules, strict=True):
            if isinstance(rule, SupportsRegions):
                raise InputError(
                    f"rule {spec.use!r} of Vote",
                    expected="a rule that judges the clusters it is given",
                    got="one that works in boxes of its own",
                    fix=f"turn it round: {spec.use} with rule = vote",
                )
        return rules


def _probability(verdict: Foreground) -> torch.Tensor:
    """How probable it is that each cluster is foreground, float64 (K,)."""
    import torch

    sure = verdict.confidence.to(torch.float64)
    return torch.where(verdict.clusters, sure, 1 - sure)
