"""Two answers to one instruction beside each other: who asks which is better, who says it, and the share of wins."""
