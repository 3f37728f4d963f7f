"""CC-Tuning: improve a language model in many languages through a connection to its own English side."""
