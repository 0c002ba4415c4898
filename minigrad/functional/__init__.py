"""Composites: graphs of primitives under the field's names."""
