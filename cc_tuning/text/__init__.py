"""Languages, scripts and prompts."""
