"""The kinds of engines. A new one is a module here with its entry class, and a name in ENTRIES."""

from common.model_list.engines.llama import LlamaEntry
from common.model_list.engines.target import EngineEntry
from common.model_list.engines.upstream import UpstreamEntry

ENTRIES: tuple[type[EngineEntry], ...] = (LlamaEntry, UpstreamEntry)
