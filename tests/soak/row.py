"""What a promise came to: a row of the table."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Row:
    """One promise: how often it was put to the test, and each time that it did not hold."""

    promise: str
    tried: int = 0
    lost: list[str] = field(default_factory=list)
    happened: str = ""

    def check(self, what: str, faults: list[str]) -> None:
        """Count one try."""
        self.tried += 1
        if faults:
            self.lost.append(f"{what}: {'; '.join(faults)}"[:2000])

    def __str__(self) -> str:
        return f"| {self.promise} | {self.tried:,} | {len(self.lost):,} | {self.happened} |"


HEAD = "| promise | tried | lost | what happened |\n|---|---:|---:|---|"
