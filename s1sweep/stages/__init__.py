"""What a stage is: what it is given, what it may use, what it gives back, and the shape of the rows between stages.

A stage's module has `run(spec, inputs, out, resources=..., launch_ranks=...)`, or `run_all(items, ...)` where several
share a worker. Knows no backend, no plan and no particular stage.
"""
