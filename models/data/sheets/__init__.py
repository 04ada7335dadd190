"""Pictures laid on sheets."""
