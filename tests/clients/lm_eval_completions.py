import sys

from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

model = LocalCompletionsAPI(
    model="tiny", base_url=f"{sys.argv[2]}/v1/completions", tokenizer_backend="remote", num_concurrent=1, max_retries=1, batch_size=1
)
pairs = [("The capital of France is", " Paris"), ("The capital of France is", " purple")]
likely, unlikely = model.loglikelihood([Instance("loglikelihood", {}, pair, 0) for pair in pairs])
assert likely[0] > unlikely[0], (likely, unlikely)
[text] = model.generate_until([Instance("generate_until", {}, ("Once upon a time", {"until": ["."], "max_gen_toks": 20}), 0)])
assert text
