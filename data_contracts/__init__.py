"""The ground between stages: contracts for rows, identities for artifacts, and the store that keeps both honest."""
