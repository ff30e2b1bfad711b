"""Doing less work."""
