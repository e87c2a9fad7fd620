"""Parts of the kernels that numba compiles."""

import importlib
import sys

import numpy as np
import pytest
import torch
from numba import njit

from azr.models import vectors
from azr.models.vectors import LANES, in_threads, products, softmax


@pytest.mark.parametrize("height", [1, 4])
def test_a_tile_gets_the_product_of_the_rows_and_columns_that_it_is_given(height: int) -> None:
    add = products(height)

    @njit
    def run(out, left, right, transposed):
        if transposed:  # left[i, h] instead of left[h, i]
            add(out, 2, out.shape[1], left, 1, 1, left.shape[1], right, right.shape[1] + 3, right.shape[1], 5)
        else:
            add(out, 2, out.shape[1], left, 1, left.shape[1], 1, right, right.shape[1] + 3, right.shape[1], 5)

    random = np.random.default_rng(0)
    for transposed in (False, True):
        out, right = (random.normal(size=(height + 5, LANES + 4)).astype(np.float32) for _ in range(2))
        left = random.normal(size=(9, 9)).astype(np.float32)
        expected, those = out.copy(), right[1:6, 3 : 3 + LANES]
        part = left[:5, 1 : 1 + height].T if transposed else left[:height, 1:6]
        expected[:height, 2 : 2 + LANES] += part @ those[: part.shape[1]]
        run(out, left, np.resize(right, (9, LANES + 4)), transposed)
        np.testing.assert_allclose(out, expected, atol=1e-5)


def test_softmax_equals_torchs_and_ends_at_zero() -> None:
    scores = np.linspace(-120, 30, 77, dtype=np.float32)
    expected = torch.from_numpy(scores.copy()).softmax(0).numpy()
    softmax(scores)
    np.testing.assert_allclose(scores, expected, atol=1e-7, rtol=2e-6)


@pytest.fixture
def _no_cache_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])


@pytest.mark.usefixtures("_no_cache_directory")
def test_where_no_directory_can_be_written_it_compiles_all_the_same() -> None:
    compiled = vectors.compiled(vectors._normalise, "void(float32[::1])")
    scores = np.array([0.0, np.log(3.0)], np.float32)
    compiled(scores)
    np.testing.assert_allclose(scores, [0.25, 0.75], rtol=1e-6)


@pytest.mark.parametrize(("threads", "count", "shares"), [(1, 5, 1), (3, 7, 3), (4, 2, 2)])
def test_threads_share_the_items_and_leave_none_out(threads: int, count: int, shares: int) -> None:
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    try:
        in_threads(count, lambda first, last: seen.append((first, last)))
    finally:
        torch.set_num_threads(before)
    assert len(seen) == shares
    assert sorted(i for first, last in seen for i in range(first, last)) == list(range(count))


def test_a_kernel_is_compiled_anew_when_one_that_it_calls_in_another_file_has_changed(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    head = "from azr.models.vectors import compiled\n"
    caller = "from called import add\ntwice = compiled(lambda x: 2.0 * add(x), 'float64(float64)')\n"
    (tmp_path / "caller.py").write_text(head + caller)
    found = []
    for number in (1.0, 25.0, 1.0):
        (tmp_path / "called.py").write_text(head + f"add = compiled(lambda x: x + {number}, 'float64(float64)')\n")
        importlib.invalidate_caches()
        for name in ("called", "caller"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        module = importlib.import_module("caller")
        found.append((module.twice(1.0), sum(module.twice.stats.cache_hits.values())))
    assert found == [(4.0, 0), (52.0, 0), (4.0, 1)]
