"""What the endpoints' folders export is what the application serves."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from services.edge import endpoints
from services.edge.endpoints.routes import HOT, OTHERS, ROUTES

FOLDER = Path(endpoints.__file__).parent


def test_every_folder_with_a_route_is_listed() -> None:
    names = sorted(path.parent.name for path in FOLDER.glob("*/route.py"))
    exported = [importlib.import_module(f"services.edge.endpoints.{name}.route").ENDPOINT for name in names]
    assert len(names) >= 5
    assert {id(each) for each in exported} == {id(each) for each in ROUTES}


def test_no_path_is_served_twice() -> None:
    served = [(each.path, each.method) for each in HOT]
    served += [(route.path, method) for each in OTHERS for route in each.router.routes for method in route.methods]  # type: ignore[attr-defined]
    assert len(served) == len(set(served))


def test_a_parser_process_loads_no_server() -> None:
    names = [each.body.name for each in HOT]
    code = "import sys; from services.edge.http.parsing.body_format import load\n"
    code += f"assert all(load(name).name == name for name in {names})\n"
    code += "print(*({'fastapi', 'uvicorn', 'grpc'} & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
