"""What a run leaves: the result's contract, its stages, repeatability, sweeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dsnot_exp.tinyworld import tokenizer as tokenizer_words
from tests.support.command import Command, masked_weights, toy_arguments, toy_folder


def test_the_fields_of_the_result(command: Command, tmp_path: Path) -> None:
    words = toy_arguments(tmp_path)
    command.draws = True
    done = command(*words, "sparsity=0.6", "eval.baselines=[dense,pruned]", "save=true")
    assert done.code == 0, done.err
    result = done.result
    assert (result["schema"], result["status"]) == (1, "finished")
    assert result["config"]["sparsity"] == 0.6
    assert result["command"].startswith("python -m dsnot_exp ")
    dataset = f"{tmp_path}/test.safetensors"
    stages = result["metrics"]["perplexity"][dataset]
    assert list(stages) == ["dense", "pruned", "refined"]
    assert len(set(stages.values())) == 3
    rows = result["metrics"]["reconstruction"]
    assert len(rows) == 3 * 7
    for row in rows:
        assert row["expected_after"] <= row["expected_before"]
        assert 0 < row["relative_before"] < 1
        assert row["swaps"] > 0
    weights = masked_weights(done.folder)
    zeros = {n: float((w == 0).float().mean()) for n, w in weights.items()}
    for layer, sparsity in result["sparsity"]["layers"].items():
        assert zeros[f"{layer}.weight"] == pytest.approx(sparsity)
        budget = (weights[f"{layer}.weight"] == 0).sum(1)
        assert (budget == int(weights[f"{layer}.weight"].shape[1] * 0.6)).all()
    assert zeros["lm_head.weight"] == 0
    assert set(result["timing_s"]) >= {"load", "calibrate", "prune", "refine", "evaluate", "total"}
    assert result["memory"]["peak_rss_bytes"] > 2**27
    assert {"python", "torch", "transformers", "lm_eval", "git", "device"} <= set(
        result["environment"]
    )
    assert (done.folder / "errors.png").read_bytes().startswith(b"\x89PNG")
    assert "dense" in done.out
    assert str(done.folder) in done.out
    assert "configuration" in (done.folder / "dsnot_exp.log").read_text()
    assert {p.name for p in done.folder.iterdir()} == {
        "result.json", "errors.png", "dsnot_exp.log", "model", ".lock",
    }  # fmt: skip


def test_stages_are_the_runs_that_they_name(command: Command, tmp_path: Path) -> None:
    """`dense` is prune=none, `pruned` is refine=none, for magnitude's two thresholds too."""
    words = [*toy_arguments(tmp_path), "prune=magnitude", "keep=none"]
    dataset = f"{tmp_path}/test.safetensors"
    whole = command(*words, "eval.baselines=[dense,pruned]", run="a").result["metrics"]
    none = command(*words, "refine=none", run="b").result["metrics"]
    dense = command(*words, "prune=none", run="c").result
    stages = whole["perplexity"][dataset]
    assert stages["pruned"] == none["perplexity"][dataset]["refined"]
    assert stages["dense"] == dense["metrics"]["perplexity"][dataset]["refined"]
    assert dense["sparsity"]["achieved"] == 0
    assert dense["masks_sha256"] is None


def test_the_same_command_gives_the_same_masks_alone_and_in_a_sweep(
    command: Command, tmp_path: Path
) -> None:
    words = [*toy_arguments(tmp_path), "refine.grow=random", "keep=none"]
    first = command(*words, "sparsity=0.6", run="a").result
    again = command(*words, "sparsity=0.6", run="b").result
    other = command(*words, "sparsity=0.6", "seed=1", run="c").result
    assert first["masks_sha256"] == again["masks_sha256"] != other["masks_sha256"]
    assert first["metrics"] == again["metrics"]
    for order in ("0.5,0.6", "0.6,0.5"):
        done = command("-m", *words, f"sparsity={order}", f"sweep=s{order[2]}", run="")
        assert done.code == 0, done.err
        files = tmp_path.glob(f"outputs/s{order[2]}/*/result.json")
        found = [json.loads(file.read_text()) for file in files]
        assert len(found) == 2
        assert first["masks_sha256"] in {r["masks_sha256"] for r in found}
        assert first["config_hash"] in {r["config_hash"] for r in found}


def test_a_finished_run_is_skipped_with_a_message(command: Command, tmp_path: Path) -> None:
    words = toy_arguments(tmp_path)
    first = command(*words)
    stamp = (first.folder / "result.json").stat().st_mtime_ns
    again = command(*words)
    assert again.code == 0
    assert "already finished" in again.out
    assert (again.folder / "result.json").stat().st_mtime_ns == stamp
    command(*words, "rerun=true")
    assert (again.folder / "result.json").stat().st_mtime_ns != stamp
    changed = command(*words, "sparsity=0.7")  # another configuration in the same folder
    assert changed.result["sparsity"]["target"] == 0.7


def test_a_failing_job_does_not_stop_a_sweep(command: Command, tmp_path: Path) -> None:
    words = toy_arguments(tmp_path)
    done = command("-m", *words, "sparsity=1.5,0.5", run="")
    assert done.code != 0
    assert "sparsity=1.5" in done.err
    assert len(list(tmp_path.glob("outputs/runs/*/result.json"))) == 1


def test_no_data_is_loaded_if_no_method_needs_any(command: Command, tmp_path: Path) -> None:
    """The default calibration set, c4, is not to be had here."""
    model = toy_folder(tmp_path / "toy")
    words = ["model=local", f"model.path={model}", "wandb=disabled", "eval=none"]
    assert command(*words, "prune=none", run="a").code == 0
    assert command(*words, "prune=magnitude", "refine=none", run="b").code == 0
    failed = command(*words, run="c")
    assert failed.code in (1, 2)
    assert "tokenizer" in failed.err or "allenai/c4" in failed.err


@pytest.mark.parametrize("update", ["true", "false"])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_dsnot_on_sparsegpt_lowers_the_expected_error_and_changes_no_budget(
    command: Command, tmp_path: Path, update: str, pattern: str
) -> None:
    words = [*toy_arguments(tmp_path), "prune=sparsegpt", f"prune.update_weights={update}"]
    words += [f"pattern={pattern}", "save=true", "refine.max_cycles=4"]
    refined, alone = command(*words, run="a"), command(*words[:-1], "refine=none", run="b")
    assert refined.code == 0, refined.err
    rows = refined.result["metrics"]["reconstruction"]
    better = [row["expected_after"] < row["expected_before"] for row in rows]
    assert all(better)
    assert all(row["swaps"] > 0 for row in rows)
    first = "model.layers.0.self_attn.q_proj.weight"  # later blocks see other inputs
    a, b = masked_weights(refined.folder), masked_weights(alone.folder)
    assert torch.equal((a[first] == 0).sum(1), (b[first] == 0).sum(1))
    assert not torch.equal(a[first] == 0, b[first] == 0)
    dense = load_file(tmp_path / "toy" / "model.safetensors")[first]
    kept = (a[first] != 0) & (b[first] != 0)
    assert torch.equal(a[first][kept], b[first][kept])
    grown = (a[first] != 0) & (b[first] == 0)
    assert torch.equal(a[first][grown], dense[grown])
    assert torch.equal(b[first][kept], dense[kept]) == (update == "false")


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_an_interrupted_run_prints_a_line_and_exits_with_130(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: list[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dsnot_exp.run.job.run_experiment", interrupted)
    done = command(*sweep, *toy_arguments(tmp_path), run="")
    assert done.code == 130
    assert done.err == "dsnot_exp: interrupted; finished work is kept\n"


def test_a_dense_model_is_measured_once_for_all_runs_beside_each_other(
    command: Command, tmp_path: Path
) -> None:
    words = [*toy_arguments(tmp_path), "eval.baselines=[dense]"]
    dataset = f"{tmp_path}/test.safetensors"

    def dense(*more: str, run: str) -> tuple[float, list[str]]:
        done = command(*words, *more, run=run)
        assert done.code == 0, done.err
        return done.result["metrics"]["perplexity"][dataset]["dense"], done.result["reused"]

    first, reused = dense("sparsity=0.5", run="a")
    assert reused == []
    assert dense("sparsity=0.6", "prune=magnitude", run="b") == (first, [dataset])
    assert dense("sparsity=0.7", "rerun=true", run="c") == (first, [])
    assert dense("eval.seqlen=12", run="d")[0] != first
    assert dense("model.dtype=bfloat16", run="e")[0] != first
    toy_folder(tmp_path / "toy", seed=1)
    value, reused = dense("sparsity=0.5", run="f")
    assert value != first
    assert reused == []


def test_block_by_block_gives_the_same_perplexity(command: Command, tmp_path: Path) -> None:
    words = [*toy_arguments(tmp_path), "eval.baselines=[dense,pruned]"]
    whole, streamed = command(*words, run="a"), command(*words, "eval.streaming=true", run="b")
    assert streamed.code == 0, streamed.err
    assert streamed.result["reused"] == []
    assert streamed.result["metrics"]["perplexity"] == whole.result["metrics"]["perplexity"]


def test_a_finished_run_without_its_model_runs_again_with_save(
    command: Command, tmp_path: Path
) -> None:
    words = toy_arguments(tmp_path)
    assert command(*words).code == 0
    saving = command(*words, "save=true")
    assert "already finished" not in saving.out
    assert (saving.folder / "model" / "model.safetensors").is_file()
    assert "already finished" in command(*words, "save=true").out
    assert "already finished" in command(*words).out


def test_a_saved_model_keeps_its_tokenizer(command: Command, tmp_path: Path) -> None:
    """Also where everything is tokenised already and nothing else needs it."""
    words = toy_arguments(tmp_path, vocab_size=len(tokenizer_words.build()))
    tokenizer_words.build().save_pretrained(tmp_path / "toy")
    done = command(*words, "save=true")
    assert done.code == 0, done.err
    before, after = (
        [
            json.loads((folder / name).read_text())
            for name in ("tokenizer.json", "tokenizer_config.json")
        ]
        for folder in (tmp_path / "toy", done.folder / "model")
    )
    assert after[0] == before[0]
    assert before[1].items() <= after[1].items()  # transformers adds where it was loaded from


def test_the_relative_error_on_a_sample_is_near_the_exact_one(
    command: Command, tmp_path: Path
) -> None:
    words = [*toy_arguments(tmp_path), "prune=sparsegpt", "calib.samples=7"]
    rows = {}
    for how in ("sample", "true", "false"):
        done = command(*words, f"relative_error={how}", run=how)
        assert done.code == 0, done.err
        rows[how] = done.result["metrics"]["reconstruction"]
        assert done.result["config"]["relative_error"] == how
    for sample, exact, none in zip(*rows.values(), strict=True):
        assert (sample["relative_tokens"], exact["relative_tokens"]) == (7 * 19, 7 * 24)
        for key in ("relative_before", "relative_after"):
            assert sample[key] == pytest.approx(exact[key], rel=0.25)
            assert none[key] is None
        assert sample["expected_after"] == exact["expected_after"] == none["expected_after"]
