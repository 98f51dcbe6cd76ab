"""Task files to prompts to token batches."""
