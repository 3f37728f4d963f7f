"""Prefect's edge: one task per stage. A step goes in, a reference to its verified artifact comes out."""
