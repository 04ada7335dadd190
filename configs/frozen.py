"""Base classes of the config models: frozen models without unknown keys, and registry entries with options."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Frozen(BaseModel):
    """Immutable; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, regex_engine="python-re")


class ComponentConfig(BaseModel):
    """A registry entry and its options: `{name: resnet, depth: 101}`.

    The registries are in `models/registry.py` and `ensemble/rerank/registry.py`.
    Options are checked against the entry's parameters before any work starts.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    name: str

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside `name`."""
        return dict(self.model_extra or {})
