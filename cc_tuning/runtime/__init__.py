"""What runs a step: its identity and cache, where it runs, the processes it starts."""
