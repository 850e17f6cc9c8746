"""Running stages: jobs, the scheduling policy, the scheduler, and two backends behind the same three verbs."""
