"""A word-level tokenizer: one token per word, so that every answer is a single token."""

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from dsnot_exp.tinyworld.lexicon import WORDS
from dsnot_exp.tinyworld.world import FORMS

PAD, START, END, UNKNOWN = SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def vocabulary() -> list[str]:
    """The special tokens and every word that a story can contain, sorted."""
    words = {word for phrases in WORDS.values() for phrase in phrases for word in phrase.split()}
    words |= {text for forms in FORMS.values() for form in forms for slot, text in form if not slot}
    words |= {"an", "she", "he", "her", "his", "him"}
    return SPECIAL + sorted(words)


def build() -> PreTrainedTokenizerFast:
    """A tokenizer that splits at spaces and prepends <s>. Punctuation marks are words."""
    tokens = {word: index for index, word in enumerate(vocabulary())}
    core = Tokenizer(models.WordLevel(tokens, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", pair=f"{START} $A $B", special_tokens=[(START, tokens[START])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        pad_token=PAD,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
