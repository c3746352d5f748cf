"""Rollouts: the pure planner of a service's replicas, and the revisions that it goes back to. The planner turns what is
to be (`Intent`) and what is there (`Snapshot`) into the next `Step`."""

from fairlead.serving.rollout.budgets import Budget, resolve_budget, role_budgets
from fairlead.serving.rollout.intent import GangPolicy, Intent, RoleIntent
from fairlead.serving.rollout.plan import plan_rollout

__all__ = ["Budget", "GangPolicy", "Intent", "RoleIntent", "plan_rollout", "resolve_budget", "role_budgets"]
