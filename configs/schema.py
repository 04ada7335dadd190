"""The data models of the YAML files. An unknown key is an error that lists the known keys."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from configs.frozen import ComponentConfig, Frozen
from configs.recipe import Recipe

Weight = Annotated[float, Field(ge=0, le=1e6)]  # within the range of float32 sums
Count = Annotated[int, Field(ge=1)]
NAME = re.compile(r"\w[\w.-]*")  # of a member: part of a folder's name, and of a list separated by commas
AT = "@"  # between a member's name and its own seed: r50@1


FORMATS = ("naic_json", "aicity_txt", "visda_txt", "prcv_csv", "atrw_json", "pairs_csv")  # of submit/formats
LABEL_FORMATS = ("clusters_csv", "identities_csv")  # a label an image, which submit.clusters writes
WHOLE = ("prcv_csv", "pairs_csv")  # formats with distances to the whole gallery
EVERY = "every"
SUM_FIRST, EACH_FIRST = FUSIONS = "sum_then_rerank", "rerank_then_sum"  # those that tuning searches
CALIBRATED = "calibrated"  # a fusion that is learned on labelled pairs
OF_ALL = ("min_images", "precision")  # keys of the recipe that all members share
COSINE, RERANKED = DISTANCES = "cosine", "reranked"
JUNK_RULES = ("itself", "same_pid_same_cam", "same_sequence")  # images excluded from a query's list or from its score
NO_JUNK = "none"
PARTS = ("train", "query", "gallery", "unlabelled")  # the lists of a data set


class Weights(Frozen):
    """The initial weights of a member's backbone.

    Exactly one source is given: `torchvision` (a weight name such as `IMAGENET1K_V1`), `url`, `file` or `hub`. A `hub`
    is a Hugging Face repository with a file `model.safetensors`; its `revision` is a commit of 40 digits.

    sha256: checked if given, always recorded. fresh: parts that the file does not have; they are newly
    initialised. prefix: of the backbone's names in the file; found if not given. grid: rows and columns of
    the position embeddings, if their number allows several.
    """

    torchvision: str | None = None
    url: str | None = None
    file: str | None = None
    hub: str | None = Field(default=None, pattern=r"^[\w.-]+/[\w.-]+$")
    revision: str | None = Field(default=None, pattern="^[0-9a-f]{40}$")
    sha256: str | None = None
    fresh: tuple[str, ...] = ()
    prefix: str | None = None
    grid: tuple[Count, Count] | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Weights:
        given = [k for k in ("torchvision", "url", "file", "hub") if getattr(self, k)]
        if len(given) != 1:
            raise ValueError(f"weights need exactly one of torchvision, url, file, hub; {given or 'none'} given")
        if bool(self.hub) != bool(self.revision):
            raise ValueError(
                "hub and revision go together: the commit that is meant, 40 digits, as https://huggingface.co/"
                f"{self.hub or 'OWNER/NAME'}/commits/main lists them"
            )
        return self


class Member(Frozen):
    """One network of the ensemble."""

    name: str = Field(pattern=f"^{NAME.pattern}({AT}\\d+)?$")
    backbone: ComponentConfig
    head: ComponentConfig = ComponentConfig(name="global")
    weights: Weights | None = None
    size: tuple[int, int] | None = Field(default=None, description="in place of the shared recipe's")
    seed: int | None = Field(default=None, description="in place of the shared recipe's")
    recipe: dict[str, Any] = Field(default_factory=dict, description="keys that are laid over the shared recipe's")

    @property
    def base(self) -> str:
        """The name without the seed: `r50` of `r50@1`. Results are cached under it, since the seed is in the recipe."""
        return self.name.partition(AT)[0]

    @property
    def own(self) -> dict[str, Any]:
        """The keys of the recipe that are this member's own."""
        short = {"size": self.size, "seed": self.seed}
        return self.recipe | {key: value for key, value in short.items() if value is not None}

    @field_validator("recipe")
    @classmethod
    def _its_own_to_say(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        for key in OF_ALL:
            if key in recipe:
                raise ValueError(f"{key} holds for all members of a build; set recipe.{key}")
        return recipe

    @model_validator(mode="after")
    def _said_once(self) -> Member:
        twice = [key for key in ("size", "seed") if getattr(self, key) is not None and key in self.recipe]
        if twice:
            raise ValueError(f"{twice[0]} is given twice, by itself and in recipe; leave one out")
        return self


class ExternalMember(Frozen):
    """A member made by other code: a file of features or of distances, with image names."""

    name: str = Field(pattern=f"^{NAME.pattern}$")
    file: str


class DomainSettings(Frozen):
    """Settings of one domain. A key that is not given has the ensemble's value.

    weights: member -> weight, instead of all the ensemble's weights; 1 for members that are not named.
    """

    weights: dict[str, Weight] | None = None
    rerank: ComponentConfig | None = None
    k1: int | None = Field(default=None, ge=1)
    k2: int | None = Field(default=None, ge=1)
    lam: float | None = Field(default=None, ge=0, le=1)
    power: Literal[1, 2] | None = None
    fusion: Literal["sum_then_rerank", "rerank_then_sum"] | None = None


class Pseudo(Frozen):
    """How unlabelled images get pseudo labels for another round. Each method has its own settings."""

    method: Literal["loop_search", "first_neighbours", "clusters", "dbscan"] = "loop_search"
    distance: Literal["cosine", "reranked"] = Field(
        default="cosine",
        description="of loop_search and first_neighbours: the members' mean, or the ensemble's re-ranked",
    )
    threshold: float | None = Field(
        default=0.5, gt=0, le=2, description="of loop_search and first_neighbours, in that distance; null labels all"
    )
    groups: int = Field(default=1000, ge=1, description="of clusters")
    eps: float = Field(default=0.6, gt=0, lt=1, description="of dbscan, in the Jaccard distance")
    least: int = Field(default=4, ge=2, description="of dbscan: images that must be so near, itself among them")
    k1: int = Field(default=30, ge=1, description="of dbscan: neighbours")
    test: bool = Field(default=False, description="label query and gallery too, which some competitions forbid")

    @model_validator(mode="after")
    def _distance_is_read(self) -> Pseudo:
        if self.distance == RERANKED and self.method in ("clusters", "dbscan"):
            own = "is k-means on the features" if self.method == "clusters" else "is by the Jaccard distance always"
            raise ValueError(
                f"distance reranked is for loop_search and first_neighbours; {self.method} {own}, leave distance out"
            )
        return self


class Expansion(Frozen):
    """Average features with their nearest neighbours before ranking: see `ensemble/rerank/query_expansion.py`.

    A name alone is enough.
    """

    name: Literal["queries", "database"] = Field(
        description="queries with their nearest gallery images, or every image with its nearest others"
    )
    k: int = Field(default=5, ge=1, description="how many")
    alpha: float = Field(default=0.0, ge=0, le=1000, description="each weighs cos^alpha; 0 is the plain average")

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Whitening(Frozen):
    """Whiten each member's features before averaging and ranking: see `ensemble/rerank/whitening.py`.

    A name alone is enough.
    """

    name: Literal["train", "test"] = Field(
        description="learned on the training images, or on query and gallery, which some competitions forbid"
    )
    shrinkage: float = Field(default=0.5, ge=0, le=1, description="of the covariance, towards equal variances")
    center: Literal["none", "camera", "domain"] = Field(
        default="none", description="take the mean of each camera or domain from its images, not that of all"
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class CalibrationSettings(Frozen):
    """How `fusion: calibrated` learns each member's log-odds of the same identity: `ensemble/fusion/calibration.py`.

    A bare name will do.
    """

    name: Literal["isotonic", "logistic"] = "isotonic"
    pool: Count = Field(
        default=100, description="nearest gallery images of a query, by the sum and by each member, that are calibrated"
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class Ensemble(Frozen):
    """How the members become one ranking."""

    weights: dict[str, Weight] = Field(default_factory=dict, description="member -> weight; 1 where not named")
    flip: bool = Field(description="average a feature with that of the mirrored image")
    views: tuple[ComponentConfig, ...] = Field(
        default=(), description="of each image; its feature is the mean over them"
    )
    rerank: ComponentConfig = Field(description="a row of ensemble/rerank/registry.py")
    k1: Count | Literal["auto"] = Field(description="auto: by the images an identity has in training")
    k2: Count | Literal["auto"] = Field(description="auto: by k1")
    lam: float = Field(ge=0, le=1)
    power: Literal[1, 2]
    fusion: Literal["sum_then_rerank", "rerank_then_sum", "calibrated"] = Field(
        default="sum_then_rerank",
        description="re-rank the sum of the members' distances; or each, and sum then, or sum calibrated log-odds",
    )
    calibration: CalibrationSettings = CalibrationSettings()
    domains: Literal["none", "colours", "table"] = Field(
        default="none", description="search each domain by itself: green and normal by colour, or the table's column"
    )
    domain_settings: dict[str, DomainSettings] = Field(
        default_factory=dict, description="domain -> its own weights, rerank, k1, k2, lam, power, fusion"
    )
    tracks: Literal["none", "mean"] = Field(
        default="none", description="find tracks of the gallery by their mean feature, and list them one by one"
    )
    rounds: int = Field(default=1, ge=1, le=9, description="of training; before each but the first, labels are guessed")
    pseudo: Pseudo = Pseudo()
    whiten: Whitening | None = None
    expand: Expansion | None = None
    camera_penalty: Weight = Field(default=0.0, description="added to the distance of two images of one camera")
    group_by: Literal["camera", "domain"] = Field(
        default="camera",
        description="the groups of ca_jaccard: cameras, or the table's column domain, such as a modality",
    )

    @field_validator("whiten", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return None if value == "none" else value

    @property
    def k_reciprocal(self) -> dict[str, Any]:
        """k1, k2, lam and power of the k-reciprocal re-ranking, also if another re-ranker is set."""
        numbers = {key: getattr(self, key) for key in ("k1", "k2", "lam", "power")}
        return numbers | (self.rerank.options if self.rerank.name == "k_reciprocal" else {})

    @model_validator(mode="after")
    def _domains_named(self) -> Ensemble:
        known = {"colours": {"green", "normal"}, "none": set[str]()}.get(self.domains)
        unknown = sorted(set(self.domain_settings) - known) if known is not None else []
        if unknown:
            hint = "set ensemble.domains first" if self.domains == "none" else "there are green and normal"
            raise ValueError(f"domain_settings names {unknown[0]!r}, and domains is {self.domains!r}: {hint}")
        return self

    @model_validator(mode="after")
    def _penalty_alone(self) -> Ensemble:
        if self.camera_penalty and (self.domains, self.tracks) != ("none", "none"):
            raise ValueError("camera_penalty goes with domains none and tracks none: it is not built for parts")
        return self

    @model_validator(mode="after")
    def _calibrated_alone(self) -> Ensemble:
        if self.fusion == CALIBRATED and (self.domains, self.tracks) != ("none", "none"):
            raise ValueError("fusion calibrated goes with domains none and tracks none: it is not built for parts")
        return self

    @model_validator(mode="after")
    def _domains_to_center(self) -> Ensemble:
        if self.whiten and self.whiten.center == "domain" and self.domains == "none":
            raise ValueError("whiten.center domain goes by ensemble.domains, which is none: set colours or table")
        return self


class ScoreWeights(Frozen):
    """total = rank1 * rank-1 + map * mAP."""

    rank1: Weight = 0.5
    map: Weight = 0.5

    @model_validator(mode="after")
    def _something(self) -> ScoreWeights:
        if not self.rank1 + self.map:
            raise ValueError("rank1 and map are both 0, so every total would be; one must count")
        return self


class Competition(Frozen):
    """The format of a submission, and how it is scored.

    Attributes:
        junk: gallery images that do not count, by one or several rules. itself: the query's own image, excluded from
            its list. same_sequence: images of the query's sequence, excluded from its list. same_pid_same_cam: images
            of its identity and camera, removed when lists are scored. none: all images count.
    """

    name: str
    data: str | None = None
    layout: str
    format: str
    top_k: int = Field(ge=1, lt=2**31)
    ap: Literal["hits", "relevant", "relevant_at_k", "market"]
    junk: str
    score: ScoreWeights = ScoreWeights()
    skip: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="list -> names or paths of its images to leave out; a plain list is of every"
    )
    recipe: dict[str, Any] = Field(default_factory=dict, description="keys of the recipe this competition changes")

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str) -> str:
        if value not in (known := (*FORMATS, *LABEL_FORMATS)):
            raise ValueError(f"unknown format {value!r}; submit/formats has: {', '.join(known)}")
        return value

    @field_validator("junk", mode="before")
    @classmethod
    def _rules(cls, value: Any) -> str:
        """Rules in the order of JUNK_RULES, joined by +: `itself+same_pid_same_cam`."""
        given = value if isinstance(value, list | tuple) else str(value).split("+")
        words = [str(word).strip() for word in given]
        unknown = [word for word in words if word not in (*JUNK_RULES, NO_JUNK)]
        if unknown or not words or len({*words}) < len(words) or (NO_JUNK in words and len(words) > 1):
            raise ValueError(f"wanted {NO_JUNK}, or some of {', '.join(JUNK_RULES)}, such as [itself, same_sequence]")
        return "+".join(rule for rule in JUNK_RULES if rule in words) or NO_JUNK

    @field_validator("skip", mode="before")
    @classmethod
    def _by_list(cls, value: Any) -> Any:
        unknown = next((key for key in value if key not in (EVERY, *PARTS)), None) if isinstance(value, dict) else None
        if unknown is not None:
            raise ValueError(f"there is no list {unknown!r}; the lists are {', '.join(PARTS)}, and {EVERY} for all")
        return {EVERY: value} if isinstance(value, list | tuple) else value or {}


class BuildConfig(Frozen):
    """The configuration of one build: members, recipe, ensemble and competition."""

    members: tuple[Member, ...]
    recipe: Recipe
    ensemble: Ensemble
    competition: Competition
    outside: tuple[ExternalMember, ...] = ()

    def recipe_of(self, member: Member) -> Recipe:
        """The recipe of a member: the shared recipe, with the member's own keys replaced."""
        return Recipe.model_validate(self.recipe.model_dump() | member.own) if member.own else self.recipe
