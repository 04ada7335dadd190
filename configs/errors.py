"""Errors that a user can cause and fix.

    ReidError                 the base: a command prints it and exits with status 2
    ├── ConfigError           a YAML file, a --set or a command line asks for what does not exist
    ├── DataError             a folder, a label list or an image is not what its layout says
    │   └── ImageError        an image file cannot be decoded
    ├── WeightsError          a weights file is missing, altered, or of another network
    ├── TrainingError         NaN or Inf in a loss or a feature, or a member's process died
    ├── ResultError           a cached result is missing, damaged, or cannot be written
    ├── MismatchedBanks       members list different images
    └── SubmissionError       a submission breaks its format's rules

Each message says what was given, what is allowed and what to do. Any other exception is a defect and has a traceback.
"""

from __future__ import annotations

from pathlib import Path


class ReidError(ValueError):
    """An error that the user can fix."""


class ConfigError(ReidError):
    """A configuration asks for what does not exist."""


class DataError(ReidError):
    """A data set is not what its layout says."""


class ImageError(DataError):
    """An image file cannot be decoded. reason: why, without the file's name and without advice."""

    def __init__(self, path: Path, reason: str, advice: str) -> None:
        super().__init__(f"{path}: cannot be decoded ({reason}). {advice}")
        self.path, self.reason, self.advice = path, reason, advice

    def __reduce__(self) -> tuple[type[ImageError], tuple[Path, str, str]]:
        return type(self), (self.path, self.reason, self.advice)  # pickled by a loader process


class WeightsError(ReidError):
    """A weights file does not fit its network."""


class TrainingError(ReidError):
    """A loss or a feature is not finite, or the process that trained a member died."""


class ResultError(ReidError):
    """A cached result is missing, damaged, or cannot be written."""


class MismatchedBanks(ReidError):
    """Two feature banks list different images."""


class SubmissionError(ReidError):
    """A submission breaks its format's rules."""
