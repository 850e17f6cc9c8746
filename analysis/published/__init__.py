"""What the s1 paper published, beside which our tables are put."""

from .paper import Published, PublishedCurve, PublishedNumber, names, published

__all__ = ["Published", "PublishedCurve", "PublishedNumber", "names", "published"]
