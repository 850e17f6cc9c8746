"""Tables and figures named after their sources, one file each."""

from .base import Exhibit
from .catalogue import NAMES, available, exhibit, known, listing

__all__ = ["NAMES", "Exhibit", "available", "exhibit", "known", "listing"]
