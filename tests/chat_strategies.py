"""Chat bodies for hypothesis: of the right shape, with values of any kind."""

from __future__ import annotations

from hypothesis import strategies as st

from services.edge.endpoints.chat.request import ChatRequest

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "robot"])
CALLS = st.fixed_dictionaries(
    {"id": st.just("call_1"), "function": st.fixed_dictionaries({"name": st.just("f"), "arguments": st.just("{}")})}
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "other"])},
    optional={"text": SCALARS, "image_url": st.fixed_dictionaries({"url": st.text() | st.just("data:x;base64,QQ==")})},
)
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES},
    optional={
        "content": st.text() | st.lists(PARTS, max_size=3) | SCALARS,
        "tool_calls": st.lists(CALLS, max_size=2),
        "tool_call_id": st.text(max_size=5),
        "name": SCALARS,
    },
)
FIELDS = [name for name in ChatRequest.model_fields if name != "messages"]
BODIES = st.builds(
    lambda messages, fields: {"messages": messages, **fields},
    st.lists(MESSAGES, min_size=1, max_size=3) | VALUES,
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
)
