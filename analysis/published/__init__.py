"""What the s1 paper published, beside which our tables are put."""

from .paper import Curve, Number, Published, names, published

__all__ = ["Curve", "Number", "Published", "names", "published"]
