"""Writes the model card: front matter for the hub, and a page for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from dsnot_exp.results.card import facts
from dsnot_exp.results.card.citations import citations
from dsnot_exp.results.method_names import applied, methods_of, pretty
from dsnot_exp.results.privacy import private
from dsnot_exp.results.stages import already_sparse
from dsnot_exp.utils.files import write_atomically
from dsnot_exp.utils.words import megabytes, percent

NAME = "README.md"
# The corpora that readers can find: id on the hub, configuration.
HUB_TEXTS = {
    "wikitext2": ("Salesforce/wikitext", "wikitext-2-raw-v1"),
    "c4": ("allenai/c4", "en"),
    "ptb": ("ptb-text-only/ptb_text_only", "penn_treebank"),
}


def write_card(
    folder: Path,
    result: dict[str, Any],
    license: str | None,
    form: str = "plain",
    size: dict[str, int] | None = None,
    where: str | None = None,
) -> Path:
    """Write README.md into the folder of a saved or exported model.

    license: of the base model, as the hub names it; None: unknown
    form: `plain`, or the packed format; size: bytes of a packed model: `dense` and `packed` of its
        packed tensors, `rest` of the others
    where: the model's id on the hub, for the example; None: a placeholder
    """
    text = card(result, license, form, size, where)
    write_atomically(folder / NAME, text.encode())
    return folder / NAME


def card(
    result: dict[str, Any],
    license: str | None,
    form: str = "plain",
    size: dict[str, int] | None = None,
    where: str | None = None,
) -> str:
    loader = PackageLoader("dsnot_exp.results.card", "")
    environment = Environment(
        undefined=StrictUndefined, loader=loader, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.globals |= {"percent": percent, "megabytes": megabytes}
    page = environment.get_template("card.md.jinja").render(
        private(_page(result)), license=license, format=form, size=size, where=where or "FOLDER"
    )
    return f"---\n{_front_matter(result, license, form).to_yaml()}\n---\n\n{page}"


def _page(result: dict[str, Any]) -> dict[str, Any]:
    config, sparsity = result["config"], result["sparsity"]
    methods = facts.methods(result)
    how = f" by {methods}" if methods else ""
    amount = facts.budget(config, sparsity["achieved"]) if methods else ""
    amount = amount or percent(sparsity["achieved"])
    return {
        "title": f"{facts.base_name(result).rpartition('/')[2]}, {amount} sparse{how}",
        "base_text": facts.base_text(result),
        "methods": methods,
        "before": pretty(already_sparse(result)),
        "stages": facts.stages(config),
        "sparsity": sparsity,
        "pattern": config.get("pattern", "unstructured"),
        "calibration": facts.calibration(result),
        "seed": config["seed"],
        "dtype": config["model"]["dtype"].replace("auto", "the dtype of the checkpoint"),
        "versions": facts.versions(result),
        "device": result["environment"].get("device"),
        "masks": result.get("masks_sha256"),
        "config_hash": result["config_hash"],
        "command": result["command"],
        "citations": citations(facts.stages(config)),
        **facts.table(result),
        "how_measured": facts.how_measured(result),
        "warnings": facts.warnings(result),
    }


def _front_matter(result: dict[str, Any], license: str | None, form: str) -> ModelCardData:
    """What the hub reads. `base_model` is for models on the hub only, and its list of results for
    texts that others can measure on."""
    config, revision = result["config"], result["model"].get("revision")
    names = applied(methods_of(config))
    pattern = config.get("pattern", "unstructured")
    kinds = ["sparse", "pruned"] if result["sparsity"]["achieved"] else []
    kinds += [pattern] if names and pattern != "unstructured" else []
    data = [text for text in [config["calib"]["dataset"]] if text in HUB_TEXTS and names]
    evaluations = _evaluations(result)
    return ModelCardData(
        base_model=facts.base_name(result) if revision else None,
        library_name="transformers" if form == "plain" else "dsnot_exp",
        pipeline_tag="text-generation",
        license=license,
        tags=["dsnot_exp", *kinds, *names],
        datasets=[HUB_TEXTS[text][0] for text in data] or None,
        metrics=_metrics(result) or None,
        model_name=facts.base_name(result).rpartition("/")[2] if evaluations else None,
        eval_results=evaluations or None,
    )


def _metrics(result: dict[str, Any]) -> list[str]:
    found = {"perplexity": "perplexity", "zero_shot": "accuracy"}
    return [name for kind, name in found.items() if result["metrics"][kind]]


def _evaluations(result: dict[str, Any]) -> list[EvalResult]:
    found = []
    for text, stages in result["metrics"]["perplexity"].items():
        value, data = stages.get("refined"), result["data"]["evaluation"].get(text, {})
        if text in HUB_TEXTS and isinstance(value, int | float):
            place, configuration = HUB_TEXTS[text]
            amount = {key: data.get(key) for key in ("sequences", "seqlen")}
            found.append(
                EvalResult(
                    task_type="text-generation", dataset_type=place, dataset_name=text,
                    dataset_config=configuration, metric_type="perplexity", metric_value=value,
                    metric_args=amount,
                )
            )  # fmt: skip
    return found
