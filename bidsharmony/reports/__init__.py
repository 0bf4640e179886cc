"""Participant and group pages: self-contained HTML."""
