"""The testbed's tokenizer: bytes, a few whole words, and ChatML's special tokens.

Byte-level with no merges, so any string tokenises and the ids of two joined texts are the joined ids: a controller may
append token ids to a prefix without asking how the text would have been split. The chat template is Qwen's ChatML
without the default system prompt.

Refuses to know: problems, traces, models.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
WORDS = (
    *("Wait", "Hmm", "Alternatively", "Final", "Answer", "user", "assistant", "system", "think", "answer"),
    *("calc", "parity", "max", "sum", "count", "walk", "swap"),
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTEXT = 2048


def build() -> PreTrainedTokenizerFast:
    """Build the tokenizer from nothing but the constants above."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    # use_regex=False: nothing is to be gained from splitting at words when nothing merges.
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in (PAD, START, END)])
    core.add_tokens([AddedToken(text, special=False, normalized=False) for text in WORDS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START],
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def save(directory: Path) -> None:
    """Write the tokenizer where `AutoTokenizer.from_pretrained` finds it."""
    build().save_pretrained(str(directory))
