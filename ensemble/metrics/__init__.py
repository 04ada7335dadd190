"""CMC, mAP, mINP and the competition's score, of ranked lists or of distances."""

from ensemble.metrics.retrieval_metrics import (
    AP_RULES,
    CMC_RANKS,
    JUNK_RULES,
    Score,
    evaluate,
    evaluate_blocks,
)

__all__ = ["AP_RULES", "CMC_RANKS", "JUNK_RULES", "Score", "evaluate", "evaluate_blocks"]
