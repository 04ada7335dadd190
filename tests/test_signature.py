"""Signatures: read back from what the metrics write, compared rule by rule, said to a person."""

import numpy as np
import pytest

from ensemble.metrics.competition_score import describe, parse
from ensemble.metrics.retrieval_metrics import evaluate
from submit.signature import differences

ORDER, QPIDS, GPIDS = [[0, 1, 2], [2, 1, 0]], [1, 2], [1, 2, 3]


def signature(**options):
    return evaluate(np.array(ORDER), QPIDS, GPIDS, **options).signature


def test_reads_what_the_metrics_write():
    says = parse(signature(ap="hits", top_k=2, extra={"members": "a*1+b*0.5"}))
    assert says == {
        "ap": "hits", "k": "2", "junk": "none", "scored": "2", "skipped": "0", "weights": "0.5*rank1+0.5*map",
        "members": "a*1+b*0.5",
    }  # fmt: skip


def test_members_may_differ_and_rules_may_not():
    one = signature(ap="hits", top_k=2, extra={"members": "a"})
    assert differences(one, signature(ap="hits", top_k=2, extra={"members": "b"})) == []
    assert differences(one, signature(ap="relevant", top_k=3)) == [
        "ap is hits in one and relevant in the other",
        "k is 2 in one and 3 in the other",
    ]
    assert differences("", "ap=hits")[0] == "ap is missing in one and hits in the other"


@pytest.mark.parametrize("key", ["ap", "k", "junk", "scored", "skipped", "weights", "data"])
def test_each_rule_must_agree(key):
    said = dict.fromkeys(("ap", "k", "junk", "scored", "skipped", "weights", "data", "members", "rerank"), "x")
    one, other = ("|".join(f"{k}={v}" for k, v in d.items()) for d in (said, said | {key: "y", "members": "z"}))
    assert differences(one, other) == [f"{key} is x in one and y in the other"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "ap=hits|k=200|junk=none|scored=5|skipped=0|weights=0.5*rank1+0.5*map",
            "AP 'hits' at 200, no junk, total = 0.5 rank-1 + 0.5 mAP",
        ),
        (
            "ap=market|k=61|junk=same_pid_same_cam|scored=5|skipped=1200|weights=1*rank1+0*map",
            "AP 'market', junk: same person, same camera, 1,200 queries skipped, total = 1 rank-1 + 0 mAP",
        ),
    ],
)
def test_says_the_rules(text, said):
    assert describe(text) == said
