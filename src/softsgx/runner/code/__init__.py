"""Code in memory: which instructions must trap, and what stands in their place."""
