"""Bring the W&B mirror of one submission's sweep up to date, as a process of its own: `python -m s1sweep.queue.mirror`.

W&B may be slow or break; the queue's service may not wait for it.
"""

from __future__ import annotations

import sys

from s1sweep import tracking
from s1sweep.queue.submission import Submissions
from s1sweep.store import Store, Sweep


def main(root: str, name: str) -> None:
    """Publish, and note in the queue what was said."""
    store = Store(root)
    queue = Submissions(store)
    submission = queue.get(name)
    if submission is not None:
        queue.publish(name, tracking.publish(Sweep(store, submission.sweep), submission.tracking))


if __name__ == "__main__":
    main(*sys.argv[1:])
