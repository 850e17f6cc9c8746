"""Waits until a cluster has all its machines: `python -m s1sweep.launchers.wait --nodes 2 --seconds 600`.

Finds the cluster and its token as any Ray program does, from RAY_ADDRESS and RAY_AUTH_*.
"""

from __future__ import annotations

import argparse
import sys
import time


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--seconds", type=int, required=True)
    asked = parser.parse_args()
    import ray

    deadline = time.monotonic() + asked.seconds
    try:
        ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        print(f"s1sweep launch: no Ray cluster to join: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return 1
    # At least so many: a machine that left and came back is counted once, by its state.
    while len(alive := [node for node in ray.nodes() if node["Alive"]]) < asked.nodes:
        if time.monotonic() > deadline:
            names = ", ".join(sorted(str(node["NodeManagerHostname"]) for node in alive))
            print(
                f"s1sweep launch: {len(alive)} of {asked.nodes} machines joined within {asked.seconds} s: {names}. "
                "The others' logs say why; a slow start needs a larger launcher.wait_seconds.",
                file=sys.stderr,
            )
            return 1
        time.sleep(1)
    has = ray.cluster_resources()
    print(f"s1sweep launch: {len(alive)} machines, {has.get('CPU', 0):g} CPUs, {has.get('GPU', 0):g} GPUs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
