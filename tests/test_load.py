"""Configs: what they load into, what --set changes, and what is refused in words."""

import shutil

import pytest
from pydantic import ValidationError

from configs import load
from configs.errors import ConfigError
from configs.load import load_build_config, load_competition
from configs.schema import ComponentConfig

FIVE = ["r50", "rx50", "ibn_a", "ibn_b", "se_ibn_a"]
COMPETITIONS = sorted(p.stem for p in (load.HERE / "competitions").glob("*.yaml"))
RECIPES = sorted(p.stem for p in (load.HERE / "recipes").glob("*.yaml"))


@pytest.fixture
def folder(tmp_path):
    """A copy of the YAML files, to be changed."""
    shutil.copytree(load.HERE, tmp_path / "configs", ignore=lambda _, names: [n for n in names if n.endswith(".py")])
    return tmp_path / "configs"


@pytest.mark.parametrize("competition", COMPETITIONS)
def test_every_competition_loads_with_all_members(competition):
    plan = load_build_config(FIVE, competition=competition)
    assert [m.name for m in plan.members] == FIVE
    assert plan.competition.name == competition == load_competition(competition).name


@pytest.mark.parametrize("recipe", [None, *RECIPES])
def test_every_recipe_loads(recipe):
    assert load_build_config(FIVE, recipe=recipe).recipe.epochs >= 1


def test_the_recipe_is_the_written_one():
    """RECIPE.md: P = 16 x 4, 0.1 ID + 0.9 triplet, eps 0.1, 120 epochs at 3.5e-4, 256 x 128, single images left out."""
    recipe = load_build_config(["r50"], competition="market1501").recipe
    assert (recipe.identities_per_batch, recipe.images_per_identity, recipe.min_images) == (16, 4, 2)
    assert recipe.losses["id"] | recipe.losses["triplet"] | {"weight": 0} == {"weight": 0, "eps": 0.1, "margin": 0.3}
    assert (recipe.losses["id"]["weight"], recipe.losses["triplet"]["weight"]) == (0.1, 0.9)
    assert recipe.size == (256, 128) and recipe.epochs == 120 and recipe.optimizer.options["lr"] == 3.5e-4


def test_a_competition_changes_the_recipe_and_set_has_the_last_word():
    assert load_build_config(["r50"], competition="drawn").recipe.size == (64, 32)
    assert load_build_config(["r50"], competition="drawn", sets=["recipe.size=[128, 64]"]).recipe.size == (128, 64)


def test_a_competitions_recipe_can_be_set_and_the_recipe_itself_still_wins():
    """It used to be laid over the recipe before --set was read, and so did nothing."""
    sets = ["recipe.seed=5", "competition.recipe.epochs=7", "competition.recipe.seed=6"]
    assert load_build_config(["r50"], sets=sets).recipe.epochs == 7
    assert load_build_config(["r50"], sets=sets).recipe.seed == 5


@pytest.mark.parametrize(
    ("change", "read"),
    [
        ("recipe.epochs=3", lambda p: p.recipe.epochs == 3),
        ("recipe.optimizer.lr=1e-3", lambda p: p.recipe.optimizer.options["lr"] == 0.001),
        (" recipe.seed = 4 ", lambda p: p.recipe.seed == 4),
        ("recipe.augment=[]", lambda p: p.recipe.augment == ()),
        ("recipe.augment=[flip, {name: erase, p: 1}]", lambda p: p.recipe.augment[1].options == {"p": 1}),
        ("ensemble.lam=.5", lambda p: p.ensemble.lam == 0.5),
        ("ensemble.whiten=none", lambda p: p.ensemble.whiten is None),
        ("ensemble.whiten=train", lambda p: p.ensemble.whiten.name == "train"),
        ("ensemble.expand=queries", lambda p: p.ensemble.expand.k == 5 and p.ensemble.expand.alpha == 0),
        ("ensemble.expand={name: database, k: 3, alpha: 2}", lambda p: p.ensemble.expand.alpha == 2),
        ("ensemble.camera_penalty=.1", lambda p: p.ensemble.camera_penalty == 0.1),
        ("ensemble.weights.r50=2", lambda p: p.ensemble.weights == {"r50": 2.0}),
        ("competition.ap=hits", lambda p: p.competition.ap == "hits"),
        ("competition.skip=[a.jpg]", lambda p: p.competition.skip == {"every": ("a.jpg",)}),
        ("competition.skip={query: [a.jpg]}", lambda p: p.competition.skip == {"query": ("a.jpg",)}),
        ("members.r50.head=mgn", lambda p: p.members[0].head == ComponentConfig(name="mgn")),
        ("members.r50.weights={file: x.pth}", lambda p: p.members[0].weights.file == "x.pth"),
    ],
)
def test_set(change, read):
    assert read(load_build_config(["r50"], sets=[change]))


def test_a_new_member_by_set():
    plan = load_build_config(["mine"], sets=["members.mine.backbone={name: resnet, depth: 101}"])
    assert plan.members[0].backbone == ComponentConfig(name="resnet", depth=101) and plan.members[0].weights is None


REFUSED = {
    "recipe.epoch=3": r"recipe.yaml: unknown key 'epoch'; it knows: size, epochs",
    "recipe.epochs=0": r"epochs: .*greater than or equal to 1 \(came: 0\)",
    "recipe.epochs=three": r"epochs: .*\(came: 'three'\)",
    "recipe.size=[64, 16]": r"at least 32 pixels; \[64, 16\] given",
    "recipe.precision=int8": r"precision: .*float32.*\(came: 'int8'\)",
    "recipe.losses={}": r"losses: .*at least 1",
    "recipe.losses.id.weight=much": r"weight of id is 'much'; wanted a number",
    "recipe.losses.id.weight=.nan": r"weight of id is nan",
    "recipe.losses.id.weight=-1": r"weight of id is -1",
    "recipe.losses.id.name=x": r"id has an option 'name'",
    "recipe.optimizer.lr.x=1": r"'lr' holds .*, which has no keys of its own",
    "recipe.augment.0.p=1": r"'augment' holds .*, which has no keys",
    "ensemble.lam=2": r"lam: .*less than or equal to 1",
    "ensemble.lam=.nan": r"lam: .*finite",
    "ensemble.k1=0": r"k1: ",
    "ensemble.whiten=both": r"whiten.name: .*'train' or 'test'",
    "ensemble.expand=both": r"expand.name: .*'queries' or 'database'",
    "ensemble.camera_penalty=-1": r"camera_penalty: .*greater than or equal to 0",
    "ensemble.power=3": r"power: ",
    "ensemble.weights.r50=-1": r"weights.r50: .*greater than or equal to 0",
    "ensemble.weights.r50=.inf": r"weights.r50: .*finite",
    "ensemble.weights.r50=0": r"every member has weight 0; one must count",
    "ensemble.weights.rx50=1": r"ensemble.weights names member 'rx50'; this build has: r50",
    "members.r5O.head=mgn": r"members.yaml, r5O: key 'backbone' is missing",
    "members.r50.hed=mgn": r"unknown key 'hed'; it knows: name, backbone, head, weights",
    "members.r50.weights={}": r"exactly one of torchvision, url, file, hub; none given",
    "members.r50.weights.url=x": r"exactly one of .*'torchvision', 'url'\] given",
    "members.r50.weights.sha=x": r"unknown key 'weights.sha'; it knows: torchvision, url, file, hub",
    "competition.score.mAP=1": r"unknown key 'score.mAP'; it knows: rank1, map",
    "competition.ap=best": r"ap: .*'hits'",
    "recipes.epochs=3": r"unknown table 'recipes'; there are: recipe, ensemble, members, competition",
    "recipe=3": r"wanted TABLE.KEY=VALUE",
    "recipe.epochs": r"wanted TABLE.KEY=VALUE",
    "recipe..epochs=1": r"wanted TABLE.KEY=VALUE",
    "recipe.size=[1": r"'\[1' is not a YAML value",
    "recipe.optimizer={lr: 1, lr: 2}": r"is not a YAML value",
}


@pytest.mark.parametrize("change", REFUSED)
def test_what_set_refuses(change):
    with pytest.raises(ConfigError, match=REFUSED[change]):
        load_build_config(["r50"], sets=[change])


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (["r5O"], "unknown member 'r5O'; configs/members.yaml has: r50, rx50, ibn_a, ibn_b, se_ibn_a"),
        ([], "no member named; .*r50"),
        (["r50", "rx50", "r50"], r"member 'r50' is named twice; .* \(--set 'ensemble.weights={r50: 2}'\)"),
    ],
)
def test_members_that_are_none(members, said):
    with pytest.raises(ConfigError, match=said):
        load_build_config(members)


@pytest.mark.parametrize("name", ["nowhere", "../recipe", "drawn.yaml", ""])
def test_a_competition_and_a_recipe_that_are_none(name):
    with pytest.raises(ConfigError, match=r"unknown competition .*; configs/competitions has: .*drawn, "):
        load_build_config(["r50"], competition=name)
    with pytest.raises(ConfigError, match=r"unknown recipe .*; configs/recipes has: "):
        load_build_config(["r50"], recipe=name)


@pytest.mark.parametrize("name", ["a/b", "../a", "a,b", ".a", "a b", ""])
def test_a_members_name_is_fit_for_a_folder_and_a_list(name, folder):
    with open(folder / "members.yaml", "a") as f:
        f.write(f"\n{name!r}: {{backbone: resnet}}\n")
    with pytest.raises(ConfigError, match=r"name: .*pattern"):
        load_build_config(["r50"], folder=folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"epochs: [", "recipe.yaml: not valid YAML"),
        (b"- 1\n- 2\n", "holds list; a mapping"),
        (b"", "holds NoneType; a mapping"),
        (b"\xff\xfe\x00", "recipe.yaml: cannot be read"),
        (b"epochs: 1\nepochs: 2\n", "key 'epochs' is given twice"),
        (b"optimizer: {name: adam, lr: 1, lr: 2}\n", "key 'lr' is given twice"),
        (b"x: !!python/object/apply:os.system ['true']\n", "not valid YAML.*could not determine a constructor"),
    ],
)
def test_a_yaml_file_that_is_none(folder, content, said):
    (folder / "recipe.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load_build_config(["r50"], folder=folder)


def test_a_yaml_file_that_is_missing(folder):
    (folder / "ensemble.yaml").unlink()
    with pytest.raises(ConfigError, match=r"ensemble\.yaml: cannot be read .*restore it"):
        load_build_config(["r50"], folder=folder)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("{rx50: 1}", r"domain_settings\.green\.weights names member 'rx50'; this build has: r50"),
        ("{r50: 0}", r"domain_settings\.green\.weights .*every member has weight 0"),
        ("{r50: -1}", r"domain_settings\.green\.weights\.r50: .*greater than or equal to 0"),
    ],
)
def test_weights_of_a_domain_are_checked_as_the_general_ones(weights, words):
    with pytest.raises(ConfigError, match=words):
        load_build_config(
            ["r50"], sets=["ensemble.domains=colours", f"ensemble.domain_settings.green.weights={weights}"]
        )


@pytest.mark.parametrize(
    "by", [["domains=colours"], ["domains=table"], ["tracks=mean"], ["domains=table", "tracks=mean"]]
)
def test_a_camera_penalty_goes_with_one_search_over_everything(by):
    sets = [f"ensemble.{one}" for one in by]
    assert load_build_config(["r50"], sets=[*sets, "ensemble.camera_penalty=0"]).ensemble.camera_penalty == 0
    with pytest.raises(ConfigError, match="camera_penalty goes with domains none and tracks none"):
        load_build_config(["r50"], sets=[*sets, "ensemble.camera_penalty=0.1"])


NUMBERS = {  # key -> numbers that are allowed, and that are not
    "ensemble.lam": ([0, 1], [-0.01, 1.01]),
    "ensemble.k1": ([1], [0]),
    "ensemble.k2": ([1], [0]),
    "ensemble.power": ([1, 2], [0, 3]),
    "ensemble.rounds": ([1, 9], [0, 10]),
    "ensemble.weights.r50": ([0.01], [-0.01, 0]),
    "ensemble.camera_penalty": ([0, 2.5], [-0.01]),
    "ensemble.pseudo.threshold": ([0.01, 2], [0, 2.01]),
    "ensemble.pseudo.groups": ([1], [0]),
    "ensemble.pseudo.eps": ([0.01, 0.99], [0, 1]),
    "ensemble.pseudo.least": ([2], [1]),
    "ensemble.pseudo.k1": ([1], [0]),
    "ensemble.whiten.shrinkage": ([0, 1], [-0.01, 1.01]),
    "ensemble.expand.k": ([1], [0]),
    "ensemble.expand.alpha": ([0], [-0.01]),
    "ensemble.domain_settings.green.k1": ([1], [0]),
    "ensemble.domain_settings.green.k2": ([1], [0]),
    "ensemble.domain_settings.green.lam": ([0, 1], [-0.01, 1.01]),
    "ensemble.domain_settings.green.power": ([1, 2], [3]),
    "competition.top_k": ([1], [0]),
    "recipe.epochs": ([1], [0]),
    "recipe.identities_per_batch": ([2], [1]),
    "recipe.images_per_identity": ([2], [1]),
    "recipe.min_images": ([1], [0]),
    "recipe.seed": ([0], [-1]),
    "recipe.checkpoint_every": ([1], [0]),
    "recipe.checkpoint_minutes": ([0.1], [0]),
    "recipe.resample.p": ([0, 1], [-0.01, 1.01]),
    "recipe.resample.fewer_than": ([3], [2]),
    "recipe.losses.id.weight": ([0], [-0.01]),
}


@pytest.mark.parametrize("key", NUMBERS)
def test_how_far_a_number_may_go(key):
    needs = {
        "whiten": "ensemble.whiten={name: test}",
        "expand": "ensemble.expand={name: queries}",
        "resample": "recipe.resample={}",
    }
    needs["domain_settings"] = "ensemble.domains=colours"
    with_it = [needs[part] for part in key.split(".") if part in needs]
    allowed, refused = NUMBERS[key]
    for value in allowed:
        at = load_build_config(["r50"], sets=[*with_it, f"{key}={value}"]).model_dump()
        for part in key.split("."):
            at = at[part]
        assert at == value
    for value in refused:
        with pytest.raises(ConfigError, match=key.rsplit(".", 1)[1] if "weight" not in key else "weight"):
            load_build_config(["r50"], sets=[*with_it, f"{key}={value}"])


def test_a_key_that_is_missing(folder):
    text = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text("\n".join(x for x in text.splitlines() if not x.startswith("epochs")))
    with pytest.raises(ConfigError, match=r"recipe\.yaml: key 'epochs' is missing"):
        load_build_config(["r50"], competition="market1501", folder=folder)


def test_anchors_and_merges_of_yaml_still_work(folder):
    with open(folder / "members.yaml", "a") as f:
        f.write("\nx: &x {backbone: resnet}\ny: {<<: *x, head: mgn}\n")
    assert load_build_config(["y"], folder=folder).members[0].head.name == "mgn"


def test_what_is_loaded_is_frozen():
    plan = load_build_config(["r50"])
    for value in (plan, plan.recipe, plan.members[0], plan.members[0].backbone, plan.ensemble, plan.competition):
        with pytest.raises(ValidationError, match="frozen"):
            value.name = "x"


def test_loading_twice_gives_the_same_and_shares_nothing():
    one, other = load_build_config(FIVE), load_build_config(FIVE)
    assert one == other
    one.recipe.losses["id"]["weight"] = 9
    assert load_build_config(FIVE) == other
