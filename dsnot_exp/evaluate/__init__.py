"""Model quality: perplexity and zero-shot accuracy.

Called as a function, `dsnot_exp.evaluate(model, tokenizer, ...)`, the package measures a model:
docs/python.md.
"""

from dsnot_exp.utils.callable_package import make_callable

make_callable(__name__, "dsnot_exp.api.evaluate:evaluate")
