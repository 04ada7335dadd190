"""CMC, mAP, mINP and the competition's score, from ranked lists or from distances."""

from ensemble.metrics.retrieval_metrics import (
    AP_RULES,
    CMC_RANKS,
    JUNK_RULES,
    Score,
    evaluate,
    evaluate_blocks,
)

__all__ = ["AP_RULES", "CMC_RANKS", "JUNK_RULES", "Score", "evaluate", "evaluate_blocks"]
