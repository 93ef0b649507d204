"""`python -m common.model_list` writes the JSON Schema of model lists, common/models.schema.json."""

from __future__ import annotations

from common.model_list.schema import SCHEMA_FILE, json_schema

if __name__ == "__main__":
    SCHEMA_FILE.write_text(json_schema())
