"""What the models of the config files are made of: frozen, without unknown keys; and rows of tables with options."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Frozen(BaseModel):
    """Immutable, and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, regex_engine="python-re")


class ComponentConfig(BaseModel):
    """A row of a table and its options: `{name: resnet, depth: 101}`.

    The tables are in `models/registry.py` and `ensemble/rerank/registry.py`. Options are checked against the row's own,
    before any work starts.
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
