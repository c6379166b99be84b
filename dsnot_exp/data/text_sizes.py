"""How many tokens a text for perplexity has, before it is read: exact where that is known, else a
guess."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError, safe_open

from dsnot_exp.data.corpora import CORPORA, HubCorpus, is_tokenised

# WikiText-2's test text by LLaMA's tokenizer, and by GPT-2's and OPT's, whose vocabularies are
# larger than this. PTB's test text has 82,430 words.
WIKITEXT2, WIKITEXT2_LARGE, SMALL_VOCABULARY = 341_469, 287_645, 40_000
PTB = 115_000
TINYWORLD = 1 << 14  # a token is a word
BYTES_PER_TOKEN = 4  # of English text


def text_tokens(name: str, seqlen: int, vocabulary: int) -> int:
    """Tokens of the whole blocks that a text is cut into."""
    corpus = CORPORA.get(name)
    if isinstance(corpus, HubCorpus) and corpus.evaluated_blocks is not None:
        return corpus.evaluated_blocks * seqlen
    if name == "wikitext2":
        count = WIKITEXT2 if vocabulary < SMALL_VOCABULARY else WIKITEXT2_LARGE
    elif name == "ptb":
        count = PTB
    elif corpus is not None:
        count = TINYWORLD
    else:
        count = _in_file(Path(os.path.expanduser(name)))
    return count // seqlen * seqlen


def _in_file(path: Path) -> int:
    try:
        if is_tokenised(path.name):
            with safe_open(path, "pt") as opened:
                count = 1
                for length in opened.get_slice("input_ids").get_shape():
                    count *= length
                return count
        return path.stat().st_size // BYTES_PER_TOKEN
    except (OSError, SafetensorError):  # the run itself reports it
        return 0
