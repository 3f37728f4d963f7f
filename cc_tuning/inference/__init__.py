"""What answers prompts: requests and predictions as files, and the engines between them."""
