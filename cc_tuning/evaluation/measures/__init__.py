"""What is counted beside the paper's rules, a family of measures in each file (docs/measures.md)."""
