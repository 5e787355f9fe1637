"""Text as tokens for language models: documents, conversations, blocks."""
