"""Rows in many languages, put beside their English."""
