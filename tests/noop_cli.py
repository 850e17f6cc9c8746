"""The s1sweep command in a world that knows stages which do nothing: python -m tests.noop_cli serve ..."""

from __future__ import annotations

if __name__ == "__main__":
    import s1sweep.spec
    from s1sweep.cli import main
    from tests import noop_gpu, noop_stage

    s1sweep.spec.Noop = noop_stage.Noop  # type: ignore[attr-defined]
    assert noop_gpu.KIND
    main()
