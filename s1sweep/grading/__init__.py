"""Graders: pure rules from an answer text to a verdict, and the `grade` stage. Knows no model and no engine."""
