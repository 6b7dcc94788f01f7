"""Layers whose caches differ (a window, or none) are groups of their own: each keeps its tokens in blocks of its own numbers."""

from __future__ import annotations

import numpy as np
from executors import SHAPE, all_logits, step_program
from make_tiny_checkpoint import make_tiny_checkpoint

from octavo._runtime import Batch


def test_each_group_reads_and_writes_its_own_blocks(tmp_path):
    make_tiny_checkpoint("gemma3_text", tmp_path)
    token_ids = list(range(3, 103))
    together = all_logits(step_program(tmp_path), token_ids)
    executor = step_program(tmp_path)
    batch = Batch(SHAPE.max_num_seqs, SHAPE.max_num_tokens, SHAPE.max_num_logits, SHAPE.max_model_len, SHAPE.block_size, num_groups=2)
    batch.start_row(0, token_ids, len(token_ids))
    batch.prepare([0], [60], [[[5, 9, 2, 44]], [[70, 1, 30, 8]]], [60])
    first = executor.execute(batch).copy()
    batch.prepare([0], [40], [[[7, 3, 6]], [[100, 4, 11]]], [40])
    np.testing.assert_array_equal(np.concatenate([first, executor.execute(batch)]), together)
