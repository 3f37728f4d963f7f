"""What answers prompts: requests and answers as files, the engines between them, and the arithmetic of one engine."""
