"""The model list: one file that inference reads for engines and quota for prices (docs/models.md)."""

from common.model_list.document import Place
from common.model_list.engines.llama import DEFAULT_FILE, DEFAULT_PROJECTOR, LlamaTarget
from common.model_list.engines.secret import Secret, Tokenizer
from common.model_list.engines.target import Target
from common.model_list.engines.upstream import UpstreamTarget
from common.model_list.entries import ModelEntry, ModelList, Price
from common.model_list.fields import A_NAME, is_name
from common.model_list.reader import SHIPPED, load_model_list, parse_model_list
from common.model_list.replaced import with_model_file

__all__ = [
    "A_NAME",
    "DEFAULT_FILE",
    "DEFAULT_PROJECTOR",
    "SHIPPED",
    "LlamaTarget",
    "ModelEntry",
    "ModelList",
    "Place",
    "Price",
    "Secret",
    "Target",
    "Tokenizer",
    "UpstreamTarget",
    "is_name",
    "load_model_list",
    "parse_model_list",
    "with_model_file",
]
