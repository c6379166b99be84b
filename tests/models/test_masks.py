from __future__ import annotations

import pytest
import torch

from dsnot_exp.models.masks import (
    NOTHING,
    load_masks,
    mask_name,
    overlap,
    pack_mask,
    unpack_mask,
    unpack_masks,
)
from dsnot_exp.models.shards import write_shard


def mask(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) > 0.6


@pytest.mark.parametrize("shape", [(1, 1), (2, 4), (3, 5), (8, 16), (5,)], ids=str)
def test_a_packed_mask_takes_a_bit_per_entry_and_comes_back(shape):
    one = mask(*shape)
    bits = pack_mask(one)
    assert bits.numel() == -(-one.numel() // 8)
    assert torch.equal(unpack_mask(bits, shape), one)
    assert torch.equal(unpack_masks({mask_name("a.b", one): bits})["a.b"], one)


def test_the_first_entry_is_the_highest_bit():
    assert pack_mask(torch.tensor([[True, False, False], [True, True, False]])).tolist() == [152]


def written(folder, **masks):
    (folder / "masks").mkdir()
    for i, (layer, one) in enumerate(masks.items()):
        write_shard(
            folder / "masks" / f"{i:05d}.safetensors", {mask_name(layer, one): pack_mask(one)}
        )
    return folder


def test_masks_are_read_by_layer_in_the_order_of_the_blocks(tmp_path):
    masks = {"z": mask(3, 5), "a": mask(4, 4, seed=1)}
    found = load_masks(written(tmp_path, **masks))
    assert list(found) == ["z", "a"]
    assert all(torch.equal(found[layer], one) for layer, one in masks.items())


def test_a_folder_without_masks_and_a_damaged_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no masks are kept there"):
        load_masks(tmp_path)
    file = written(tmp_path, a=mask(3, 5)) / "masks" / "00000.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(OSError, match=r"00000\.safetensors: truncated"):
        load_masks(tmp_path)
    write_shard(file, {"a(3, 50)": pack_mask(mask(3, 5))})
    with pytest.raises(OSError, match=r"2,\) bytes for a mask of the shape \(3, 50\)"):
        load_masks(tmp_path)


def test_overlap_counts_kept_weights_and_equal_entries():
    a = torch.tensor([[True, True, False, False]])
    b = torch.tensor([[True, False, True, False]])
    found = overlap({"l": a, "only a": a}, {"l": b, "only b": b})
    assert list(found) == ["l"]
    assert found["l"].jaccard == 1 / 3
    assert found["l"].share_equal == 1 / 2
    whole = sum([found["l"], overlap({"k": a}, {"k": a})["k"]], NOTHING)
    assert (whole.jaccard, whole.share_equal) == (3 / 5, 6 / 8)


def test_masks_that_keep_nothing_are_the_same():
    nothing = torch.zeros(2, 2, dtype=torch.bool)
    assert overlap({"l": nothing}, {"l": nothing})["l"].jaccard == 1


def test_models_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match=r"l is \(2, 4\) in one model, \(4, 2\)"):
        overlap({"l": mask(2, 4)}, {"l": mask(4, 2)})
    with pytest.raises(ValueError, match="no layer in common"):
        overlap({"a": mask(2, 4)}, {"b": mask(2, 4)})
