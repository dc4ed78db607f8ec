"""The examples for clusters: the job makes its table, and the cluster is one that Ray's launcher takes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Archive


EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


def test_the_job(archive: Archive, ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet

    spec = importlib.util.spec_from_file_location("ray_archive", EXAMPLES / "ray_archive.py")
    assert spec is not None and spec.loader is not None
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    out = tmp_path / "labels"
    monkeypatch.setattr(sys, "argv", ["ray_archive.py", archive.folder, archive.model, str(out), "--verify", "1"])
    job.main()
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert sorted(row["path"] for row in rows) == sorted(archive.paths)
    assert sum(row["error"] is None and row["divergence"] is not None for row in rows) == archive.good


def test_the_cluster(ray: Any) -> None:
    import yaml
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((EXAMPLES / "ray_cluster.yaml").read_text())
    validate_config(prepare_config(config))
    assert config["head_node_type"] in config["available_node_types"]
