"""Training: vanilla SFT and CC-Tuning under one Trainer, in processes of their own, resumable to the same weights."""
