"""The engine on a CUDA device against the engine on the CPU: by the twin of `tests/cuda_twin.py`, and on a device."""

import dataclasses

import numpy as np
import pytest

from ensemble import metrics, neighbours, rerank
from ensemble.kernels import device, rank_counts
from ensemble.neighbours import distance_blocks, search_cost
from tests import cuda_twin, oracles
from tests.features import clustered, signs, unit_rows

pytest.importorskip("cupy")
card = pytest.importorskip("ensemble.kernels.cuda.card")
from ensemble.kernels.cuda import features as card_features  # noqa: E402
from ensemble.kernels.cuda import rerank as card_rerank  # noqa: E402
from ensemble.kernels.cuda import search as card_search  # noqa: E402
from ensemble.neighbours import on_card  # noqa: E402

LISTS = ("order", "dist", "farthest", "near_order", "near_dist")
no_gpu = device.cuda_problem()
ON = [
    "twin",
    pytest.param("gpu", marks=[pytest.mark.gpu, pytest.mark.skipif(bool(no_gpu), reason=f"no GPU: {no_gpu}")]),
]


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return cuda_twin.compiled(tmp_path_factory.mktemp("twin"))


@pytest.fixture(params=ON)
def there(request, monkeypatch):
    """A device: its twin, whose memory and block's own memory can be set, or the real one."""
    if request.param == "gpu":
        return None
    twin = cuda_twin.Card(request.getfixturevalue("library"))
    twin.patch(monkeypatch)
    monkeypatch.setattr(device, "cuda_problem", lambda: None)
    return twin


def case_of(name, n=130):
    """(features, options of a search) that are hard in one way each."""
    rng = np.random.default_rng(1)
    feats, options = [clustered(rng, n, 32, 12), unit_rows(rng, n, 21)], {"weights": [1.0, 0.5]}
    if name == "ties":
        feats, options = [signs(rng, n, 4)], {}
    if name == "copies":  # more than a list of candidates holds
        feats, options = [np.repeat(unit_rows(rng, 2, 16), -(-n // 2), axis=0)[:n]], {}
    if name == "weightless":
        options = {"weights": [0.0, 2.0]}
    if name == "penalties":
        options["penalties"] = [(rng.integers(-1, 4, n), 0.1), (rng.integers(0, 2, n), 0.03)]
    if name == "opposite":  # some of the least similar are nearly equal
        feats, options = [np.concatenate([feats[0], -feats[0][: n // 3]])[:n]], {}
    return feats, options


def both(feats, options, k=21, n_query=30, top_k=6):
    """The neighbours by the device and by the CPU."""
    given = {**options, "n_query": n_query, "top_k": top_k}
    return (neighbours.nearest(feats, k, device=d, **given) for d in ("cuda", "cpu"))


def same_lists(one, other, names=LISTS):
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("case", ["members", "ties", "copies", "weightless", "penalties", "opposite"])
def test_neighbours_are_those_of_the_cpu(there, case):
    feats, options = case_of(case)
    one, other = both(feats, options)
    same_lists(one, other)
    order, dist = neighbours.nearest_gallery(feats, 30, 6, weights=options.get("weights"), device="cuda")
    if case != "penalties":
        np.testing.assert_array_equal(order, other.near_order[:, :6])
        np.testing.assert_array_equal(dist, other.near_dist[:, :6])


@pytest.mark.parametrize("case", ["members", "copies", "penalties"])
def test_neighbours_by_parts_of_the_features(there, monkeypatch, case):
    """Features larger than the device's memory are taken in parts, and the lists are merged."""
    feats, options = case_of(case)
    _, other = both(feats, options)
    wanted = rerank.k_reciprocal(other, feats, 30, **options, k1=7, k2=3, top_k=6, device="cpu")
    monkeypatch.setattr(card, "free_memory", lambda: 8_000)
    monkeypatch.setattr(card_features, "LEAST_PART", 48)
    loaded = card_features.load([np.ascontiguousarray(a) for a in feats], options.get("weights", [1.0]), [])
    assert not loaded.resident and len(loaded.spans) == 3
    one, _ = both(feats, options)
    same_lists(one, other)
    got = rerank.k_reciprocal(one, feats, 30, **options, k1=7, k2=3, top_k=6, device="cuda")
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], wanted[1])
    rows = np.concatenate([d for _, d in rerank.blocks(one, feats, 30, **options, k1=7, k2=3, device="cuda")])
    np.testing.assert_array_equal(np.take_along_axis(rows, got[0], 1), got[1])


def test_rows_are_shared_out_over_devices(there):
    feats, options = case_of("members")
    if there is None:
        if card.devices() < 2:
            pytest.skip("one device")
    else:
        there.count = 3
    one, other = both(feats, options)
    same_lists(one, other)


@pytest.mark.parametrize(
    ("k1", "k2", "lam", "power"),
    [(20, 6, 0.3, 2), (20, 1, 0.3, 1), (5, 12, 0.6, 2), (1, 2, 0.0, 2), (9, 3, 1.0, 1), (400, 400, 0.3, 2)],
)
@pytest.mark.parametrize("case", ["members", "ties", "penalties"])
def test_reranked_lists_are_those_of_the_cpu_to_the_bit(there, case, k1, k2, lam, power):
    n, k, top_k = (70, 70, 2) if k1 == 400 else (130, 21, 6)
    feats, options = case_of(case, n)
    one, other = both(feats, options, k=k, top_k=top_k)
    setting = {"k1": k1, "k2": k2, "lam": lam, "power": power, "top_k": top_k, **options}
    want = rerank.k_reciprocal(other, feats, 30, **setting, device="cpu")
    kept = dataclasses.replace(one, held=None)  # as a build reads them from the disk
    for near in (one, kept):
        got = rerank.k_reciprocal(near, feats, 30, **setting, device="cuda")
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])


def test_reranked_rows_are_the_papers(there):
    """The oracle shares nothing with the engine but the definition."""
    feats, options = case_of("members")
    near = neighbours.nearest(feats, 12, device="cuda", **options)
    got = np.concatenate([d for _, d in rerank.blocks(near, feats, 30, k1=11, k2=4, device="cuda", **options)])
    want = oracles.k_reciprocal(oracles.fused_distance(feats, options["weights"]), 30, 11, 4, 0.3, 2)
    np.testing.assert_allclose(got, want, atol=2e-6)


def test_lists_that_the_search_did_not_keep_are_looked_for(there):
    feats, options = case_of("members")
    near, other = (neighbours.nearest(feats, 21, device=d, **options) for d in ("cuda", "cpu"))
    one, want = (
        rerank.k_reciprocal(n, feats, 30, top_k=6, device=d, **options) for n, d in ((near, "cuda"), (other, "cpu"))
    )
    np.testing.assert_array_equal(one[0], want[0])


@pytest.mark.parametrize("room", ["SET_ROOM", "GAP_ROOM", "EXTRA_ROOM"])
def test_a_wrong_guess_of_room_costs_a_second_pass(there, monkeypatch, room):
    feats, options = case_of("members")
    one, other = both(feats, options)
    want = rerank.k_reciprocal(other, feats, 30, top_k=6, device="cpu", **options)
    monkeypatch.setattr(card_rerank, room, 0)
    got = rerank.k_reciprocal(one, feats, 30, top_k=6, device="cuda", **options)
    np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_array_equal(got[1], want[1])


def test_without_a_blocks_own_memory(there, monkeypatch):
    """Sets, lists and right images that are too many for it lie in the device's memory, some rows at a time."""
    feats, options = case_of("members")
    one, other = both(feats, options)
    want = rerank.k_reciprocal(other, feats, 30, top_k=6, device="cpu", **options)
    monkeypatch.setattr(card, "shared_memory", lambda: 1024)
    monkeypatch.setattr(card_rerank, "SCRATCH_BYTES", 40_000)
    got = rerank.k_reciprocal(one, feats, 30, top_k=6, device="cuda", **options)
    np.testing.assert_array_equal(got[0], want[0])
    pids, cams = np.arange(130) % 2, np.arange(130) % 3
    labels = pids[:30], pids[30:], cams[:30], cams[30:]
    stream = rerank.blocks(one, feats, 30, device="cuda", **options)
    rows = np.concatenate([d for _, d in rerank.blocks(one, feats, 30, device="cuda", **options)])
    assert metrics.evaluate_blocks(stream, *labels) == metrics.evaluate_blocks([(slice(0, 30), rows)], *labels)
    monkeypatch.setattr(card, "shared_memory", lambda: 512)
    same_lists(both(feats, options).__next__(), other)


@pytest.mark.parametrize("reranked", [True, False])
def test_whole_lists_begin_as_the_first_k(there, reranked):
    feats, options = case_of("members")
    near = neighbours.nearest(feats, 21, n_query=30, top_k=6, device="cuda", **options)
    given = {**options, "device": "cuda"}
    one, other = (
        rerank.k_reciprocal(near, feats, 30, top_k=k, **given)
        if reranked
        else distance_blocks.rank(feats, 30, top_k=k, **given)
        for k in (None, 6)
    )
    assert one[0].shape == (30, 100) and (np.sort(one[0], axis=1) == np.arange(100)).all()
    np.testing.assert_array_equal(one[0][:, :6], other[0])
    np.testing.assert_array_equal(one[1][:, :6], other[1])
    assert (np.diff(one[1], axis=1) >= 0).all()


def test_whole_lists_of_copies_keep_them_in_order(there):
    feats = np.tile(unit_rows(np.random.default_rng(3), 20, 10), (5, 1))
    order, dist = distance_blocks.rank(feats, 20, device="cuda")
    assert (dist[:, :4] == dist[:, :1]).all()
    np.testing.assert_array_equal(order[:, :4], np.arange(20)[:, None] + 20 * np.arange(4))


def test_streams_are_summed_there(there):
    feats, _ = case_of("members")
    streams = [distance_blocks.blocks(a, 30, device="cuda") for a in feats]
    rows = [np.concatenate([d for _, d in distance_blocks.blocks(a, 30, device="cpu")]) for a in feats]
    got = np.concatenate([d for _, d in distance_blocks.summed(streams, [1.0, 0.5])])
    np.testing.assert_allclose(got, rows[0] + np.float32(0.5) * rows[1], atol=2e-6)
    uneven = [distance_blocks.blocks(feats[0], 30, device="cuda"), distance_blocks.blocks(feats[0], 29, device="cuda")]
    with pytest.raises(ValueError, match="different queries or galleries"):
        list(distance_blocks.summed(uneven, [1, 1]))


@pytest.mark.parametrize(("ap", "junk", "top_k"), [("market", None, None), ("hits", "none", 20), ("relevant", None, 7)])
def test_scores_of_streams_are_counted_as_on_the_cpu(there, ap, junk, top_k):
    rng = np.random.default_rng(5)
    feats = signs(rng, 130, 6)  # ties all over
    pids, cams = rng.integers(-1, 12, 130), rng.integers(0, 3, 130)
    pids[3] = 99  # is not in the gallery
    labels = pids[:30], pids[30:], cams[:30], cams[30:]
    rows = np.concatenate([d for _, d in distance_blocks.blocks(feats, 30, device="cuda")])
    rules = {"ap": ap, "junk": junk, "top_k": top_k}
    one = metrics.evaluate_blocks(distance_blocks.blocks(feats, 30, device="cuda"), *labels, **rules)
    other = metrics.evaluate_blocks([(slice(0, 30), rows)], *labels, **rules)
    assert one == other and 0 < one.map < 1
    np.testing.assert_array_equal(one.ap_per_query, other.ap_per_query)
    order = np.argsort(rows, axis=1, kind="stable")
    assert metrics.evaluate(order, *labels, **rules).map == pytest.approx(one.map, abs=1e-12)
    with pytest.raises(ValueError, match="want \\(29, 100\\)"):
        metrics.evaluate_blocks(distance_blocks.blocks(feats, 30, device="cuda"), pids[:29], pids[30:])


def test_a_row_that_is_no_number_is_told(there):
    dist = card.upload(np.array([[0, 1, 2], [0, np.nan, 2]], np.float32))
    labels = [card.upload(np.array(a, np.int64)) for a in ([0, 0], [0, 0], [0, 1], [2], [0, 0, 0])]
    out = [card.xp.empty(2, t) for t in (np.float64, np.int64, np.int64, np.int64)]
    card.launch("rank_facts", 2, dist, 3, *labels, 0, 3, None, 1, *out, shared=24)
    total, found, _, last = (card.download(a) for a in out)
    assert total[0] == pytest.approx(1 / 3) and np.isnan(total[1])
    assert (found[0], last[0]) == (1, 3)


def test_features_on_the_device_are_not_copied(there):
    feats, options = case_of("members")
    lying = [card.upload(a) for a in feats]
    if there is None:
        torch = pytest.importorskip("torch")
        lying[1] = torch.from_numpy(feats[1]).cuda()
    before = getattr(there, "uploaded", 0)
    one = neighbours.nearest(lying, 21, n_query=30, top_k=6, **options)
    got = rerank.k_reciprocal(one, lying, 30, top_k=6, **options)
    if there is not None:
        assert there.uploaded - before < min(a.nbytes for a in feats)
    _, other = both(feats, options)
    same_lists(one, other)
    np.testing.assert_array_equal(got[0], rerank.k_reciprocal(other, feats, 30, top_k=6, device="cpu", **options)[0])
    with pytest.raises(ValueError, match="device 'cpu' and features on a CUDA device"):
        neighbours.nearest(lying, 21, device="cpu")


@pytest.mark.parametrize("lying", [True, False])
def test_rows_that_are_not_unit_are_named(there, lying):
    feats = unit_rows(np.random.default_rng(0), 40, 8)
    feats[[3, 9]] = [np.full(8, np.nan), np.full(8, 0.5)]
    given = card.upload(feats) if lying else feats
    with pytest.raises(ValueError, match=r"member 0: rows not of unit length: 3 \(norm nan\), 9 \(norm 1\.414\)"):
        neighbours.nearest(given, 5, device="cuda")


def test_neighbours_of_other_features_or_weights_are_refused(there):
    """Also where a search left its features on the device; the same features found elsewhere serve."""
    feats, _ = case_of("members")
    near, other = (neighbours.nearest(feats, 21, weights=[1, 0.5], device=d) for d in ("cuda", "cpu"))
    assert near.made_of == other.made_of
    want = rerank.k_reciprocal(other, feats, 30, weights=[1, 0.5], top_k=6, device="cpu")
    for given in (near, other):
        got = rerank.k_reciprocal(given, [feats[0], feats[1].copy()], 30, weights=[1, 0.5], top_k=6, device="cuda")
        np.testing.assert_array_equal(got[0], want[0])
        for others, weights in ((feats, [0.5, 1]), ([feats[0], feats[1][::-1].copy()], [1, 0.5])):
            with pytest.raises(ValueError, match="other features, weights or penalties"):
                rerank.k_reciprocal(given, others, 30, weights=weights, top_k=6, device="cuda")


def test_neighbours_travel_without_what_lies_on_the_device(there):
    import pickle

    near = neighbours.nearest(case_of("ties")[0], 5, device="cuda")
    assert near.held is not None and near.shortened(3).held is None
    back = pickle.loads(pickle.dumps(near))
    assert back.held is None
    np.testing.assert_array_equal(back.order, near.order)


@pytest.mark.parametrize("k", [1, 7, 60, 500])
def test_selection_keeps_what_may_be_among_the_k_largest(there, k):
    rng = np.random.default_rng(k)
    sim = rng.standard_normal((6, 70)).astype(np.float32)
    sim[3] = np.round(sim[3])  # ties
    sim[4] = 0.25
    width, slack, room = 60, np.float32(0.125), 60
    for groups in {card_search.grouped(width, min(k, width)), max(17, min(k, width)), width}:
        where, held = card.xp.full((6, room), -7, np.int32), card.xp.empty(6, np.int32)
        low, low_held = card.xp.full((6, 4), -7, np.int32), card.xp.empty(6, np.int32)
        settings = card.upload(sim), 70, width, groups, min(k, width), slack, None, room, 4
        card.launch("select_rows", 6, *settings, where, held, low, low_held, shared=8 * groups)
        where, held, low, low_held = (card.download(a) for a in (where, held, low, low_held))
        for i in range(6):
            row = sim[i, :width]
            bar = np.sort(row)[::-1][min(k, width) - 1] - slack
            kept = sorted(where[i, : held[i]])
            assert set(np.flatnonzero(row >= bar)) <= set(kept) and len(set(kept)) == len(kept)
            assert groups < width or kept == list(np.flatnonzero(row >= bar))
            nearly = list(np.flatnonzero(row <= row.min() + slack))
            assert low_held[i] == (len(nearly) if len(nearly) <= 4 else -1)
            assert low_held[i] < 0 or sorted(low[i, : low_held[i]]) == nearly


def test_selection_says_when_candidates_do_not_fit(there):
    sim = np.tile(np.arange(40, dtype=np.float32), (2, 1))
    sim[1] = 1
    where, held = card.xp.empty((2, 8), np.int32), card.xp.empty(2, np.int32)
    low, low_held = card.xp.empty((2, 4), np.int32), card.xp.empty(2, np.int32)
    given = card.upload(sim), 40, 40, 40, 5, 0.0, None, 8, 4, where, held, low, low_held
    card.launch("select_rows", 2, *given, shared=320)
    assert list(card.download(held)) == [5, -1]


def test_half_precision_and_what_it_loses(there):
    rng = np.random.default_rng(0)
    feats = unit_rows(rng, 5, 11)
    bits, lost = card.xp.zeros((5, 16), np.uint16), card.xp.full(5, 1.0)
    card.launch("halve", 5, card.upload(feats), 11, 512.0, bits[:, 4:], 16, lost)
    want = np.zeros((5, 16), np.float16)
    want[:, 4:15] = feats * np.float32(512)
    np.testing.assert_array_equal(card.download(bits).view(np.float16), want)
    apart = (feats * np.float32(512)).astype(float) - want[:, 4:15].astype(float)
    np.testing.assert_allclose(card.download(lost), 1 + (apart**2).sum(axis=1), rtol=1e-12)


def test_a_bound_that_holds_decides_what_is_rescored(there):
    """Near-ties that half precision turns round: the slack keeps both, and without it the order would be wrong."""
    rng = np.random.default_rng(2)
    base = unit_rows(rng, 1, 64)[0]
    feats = np.stack([base, *(base + 2e-4 * rng.standard_normal((60, 64)).astype(np.float32))])
    feats /= np.linalg.norm(feats, axis=1, keepdims=True)
    one, other = (neighbours.nearest(feats, 5, device=d) for d in ("cuda", "cpu"))
    np.testing.assert_array_equal(one.order, other.order)
    half = feats.astype(np.float16).astype(np.float32)
    assert (np.argsort(-(half @ half.T), axis=1, kind="stable")[:, :5] != other.order).any()


def test_what_it_will_cost_is_said_of_the_device(there):
    told = search_cost.estimate_search_cost(30, 100, [32, 21], k=21, top_k=6, device="cuda")
    assert "on a CUDA device" in str(told) and 0 < told.seconds < 60
    halves, lists = 2 * 130 * 56, 8 * (130 * 21 + 30 * 6)
    assert told.feature_bytes == 4 * 130 * 53 and told.work_bytes > halves + lists
    # distance matrices are read on the CPU
    assert search_cost.estimate_search_cost(30, 100, [], k=21, device="cuda").workers > 0
    with pytest.raises(search_cost.DoesNotFit, match=r"on a CUDA device; allowed are .* GiB"):
        search_cost.estimate_search_cost(30, 100, [32, 21], k=21, device="cuda", memory=1000)


def test_little_memory_makes_small_parts_or_is_refused(there, monkeypatch):
    feats, options = case_of("members")
    monkeypatch.setattr(card_features, "LEAST_PART", 40)
    monkeypatch.setattr(on_card, "LEAST_PART", 40)
    monkeypatch.setattr(card_features, "WORK_SHARE", 0.8)
    one = neighbours.nearest(feats, 21, device="cuda", memory=60_000, **options)
    assert not one.held.feats.resident
    np.testing.assert_array_equal(one.order, neighbours.nearest(feats, 21, device="cpu", **options).order)
    with pytest.raises(search_cost.DoesNotFit, match="Allow more, or use shorter lists"):
        neighbours.nearest(feats, 21, device="cuda", memory=10_000, **options)


def test_arguments_of_a_kernel_are_checked(there):
    with pytest.raises(TypeError, match="kernel row_keys takes 3 arguments, got 1"):
        card.converted("row_keys", (1,))
    with pytest.raises(TypeError, match="argument 0: an array of float64, want float32"):
        card.converted("row_keys", (np.zeros(1), 1, np.zeros(1, np.uint64)))


def test_counting_twins_agree(there):
    """Random groups, sizes and ties: the facts of every row, number for number."""
    rng = np.random.default_rng(9)
    for groups in (1, 7, 60):
        dist = rng.integers(0, 9, (12, 90)).astype(np.float32)
        pids = rng.permutation(np.concatenate([np.arange(groups), rng.integers(0, groups, 90 - groups)]))
        by_pid = np.argsort(pids, kind="stable")
        pid_ptr = np.concatenate([[0], np.cumsum(np.bincount(pids, minlength=groups))]).astype(np.int64)
        group, cams, gallery = rng.integers(-1, groups, 12), rng.integers(0, 2, 12), rng.integers(0, 2, 90)
        want = rank_counts.from_distances(dist, group, cams, pid_ptr, by_pid, gallery, True, 50)
        arrays = [card.upload(np.ascontiguousarray(a)) for a in (dist, group, cams, pid_ptr, by_pid, gallery)]
        out = [card.xp.empty(12, t) for t in (np.float64, np.int64, np.int64, np.int64)]
        most = int(np.diff(pid_ptr).max())
        card.launch("rank_facts", 12, arrays[0], 90, *arrays[1:], True, 50, None, most, *out, shared=24 * most)
        for got, right in zip(out, want, strict=True):
            np.testing.assert_array_equal(card.download(got), right)


@pytest.mark.parametrize("arch", ["compute_80", "compute_90", "compute_100"])
def test_kernels_compile(arch):
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")
    program = nvrtc.createProgram(card.CODE, "engine.cu", (), ())
    try:
        nvrtc.compileProgram(program, (f"--gpu-architecture={arch}", *card.OPTIONS))
        text = nvrtc.getPTX(program)
    except nvrtc.NVRTCError as error:
        pytest.fail(f"{error}: {nvrtc.getProgramLog(program)}")
    finally:
        nvrtc.destroyProgram(program)
    text = text if isinstance(text, str) else text.decode()
    assert len(card.SIGNATURES) == card.CODE.count("__global__")
    for name in card.SIGNATURES:
        assert f".entry {name}(" in text


def test_device_is_chosen_aloud(caplog):
    with caplog.at_level("INFO"):
        chosen = device.choose("auto")
    assert f"retrieval on {chosen}" in caplog.text
    assert device.choose("cpu") == "cpu"
    if device.cuda_problem():
        with pytest.raises(ValueError, match="'cuda' cannot be used: "):
            device.choose("cuda")


gpu = pytest.mark.skipif(bool(no_gpu), reason=f"no GPU: {no_gpu}")


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize("case", ["members", "ties", "copies", "penalties"])
def test_thousands_of_images_on_a_device(case):
    """As above at a size at which blocks, waves and races are real."""
    feats, options = case_of(case, 6000)
    for k1, k2 in ((20, 6), (40, 2)):
        one, other = both(feats, options, k=41, n_query=1000, top_k=100)
        same_lists(one, other)
        given = {**options, "top_k": 100, "k1": k1, "k2": k2}
        got, want = (rerank.k_reciprocal(n, feats, 1000, device=d, **given) for n, d in ((one, "cuda"), (other, "cpu")))
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])
    pids = np.arange(6000) % 12
    labels = pids[:1000], pids[1000:]
    score = metrics.evaluate_blocks(rerank.blocks(one, feats, 1000, device="cuda", **options), *labels)
    whole, _ = rerank.k_reciprocal(one, feats, 1000, device="cuda", **options)
    assert metrics.evaluate(whole, *labels).map == pytest.approx(score.map, abs=1e-12)


@pytest.mark.gpu
@gpu
def test_large_arrays_arrive_whole():
    """Through the two page-locked buffers in turn, a memory map among them."""
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, 3 * card.STAGED + 12345, dtype=np.uint8)
    np.testing.assert_array_equal(card.download(card.upload(array)), array)
