"""Self-distillation from English (SDRRL): the base model's own English answers, carried over to other languages."""
