"""The recipe: refused with the nearest right key, overridden by name, the paper's values by default."""

from pathlib import Path

import pytest

from cc_tuning.errors import ConfigError
from cc_tuning.pipeline.loading import load_recipe
from cc_tuning.pipeline.recipe import Recipe
from cc_tuning.pipeline.reference import recipe_reference

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = "name: x\nmodel: {base: miniature}\ndata: {source: miniature}\ntranslation: {model: miniature}\n"


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(SMALLEST)
    return path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trainning: {epochs: 1}", r"unknown key `trainning`; did you mean `training`\?"),
        ("training: {epoch: 1}", r"unknown key `training\.epoch`; did you mean `epochs`\?"),
        ("connection: {selecter: mean}", r"did you mean `selector`\?"),
        ("miniature: {world: {itemz: 1}}", r"unknown key `miniature\.world\.itemz`; did you mean `items`\?"),
        ("evaluation: {zzzzqq: 1}", r"unknown key `evaluation\.zzzzqq`; known here: .*max_new_tokens"),
        ("connection: {selector: loudest}", r"connection\.selector.*decision_maker.*got 'loudest'"),
        ("runs: [cc-tunning]", "unknown run cc-tunning; known: base, ml-sft"),
        ("runs: [ml-sft, ml-sft]", "stands twice"),
        ("connection: {statistics_rows: 64}", r"connection\.normalise is 'none', which measures nothing"),
        ("transform: {rank: 8}", r"transform\.rank is 8, and only a map with `features: all_layers or pooled`"),
        ("transform: {folds: 3, ridge: gcv}", r"transform\.folds is 3, and only a map with `ridge: cv` has one"),
        ("data: {source: CohereLabs/aya_dataset}", r"data\.revision is missing: pin the commit"),
        ("training: {epochs: many}", r"training\.epochs.*got 'many'"),
    ],
)
def test_a_mistake_is_named_with_the_way_out(recipe_file: Path, line: str, message: str) -> None:
    key = line.split(":")[0]
    kept = "".join(row + "\n" for row in SMALLEST.splitlines() if not row.startswith(f"{key}:"))
    recipe_file.write_text(kept + line + "\n")
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe_file)


@pytest.mark.parametrize("text", ["- a list", "a: [", "\udcff"])
def test_a_file_that_is_no_recipe_is_refused(recipe_file: Path, text: str) -> None:
    recipe_file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=r"recipe\.yaml"):
        load_recipe(recipe_file)


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: the recipe cannot be read"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_overrides_reach_every_depth_and_keep_their_yaml_type(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file,
        ["training.epochs=1", "training.learning_rate=3e-4", "runs=[cc-tuning]", "execution.store=elsewhere"],
    )
    assert recipe.training.epochs == 1
    assert recipe.training.learning_rate == 3e-4
    assert [run.name for run in recipe.runs] == ["cc-tuning"]
    assert recipe.execution.store == Path("elsewhere")


def test_a_section_as_an_override_changes_the_keys_that_it_names(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, ["training.learning_rate=3e-4", "training={epochs: 1, lora: {rank: 2}}"])
    assert (recipe.training.learning_rate, recipe.training.epochs, recipe.training.lora.rank) == (3e-4, 1, 2)


@pytest.mark.parametrize("override", ["training.epochs", "=1", "name.first=1", "training.epochs=[1"])
def test_an_override_that_is_none_is_refused(recipe_file: Path, override: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        load_recipe(recipe_file, [override])


def test_a_recipe_cannot_be_changed_in_place(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "y"  # type: ignore[misc]


def test_the_defaults_are_the_papers_values() -> None:
    """Ye et al. 2025, Appendix A.1 and A.2, and section 3.2.2."""
    recipe = Recipe.model_validate({"name": "x", "model": {"base": "miniature"}, "data": {"source": "miniature"},
                                    "translation": {"model": "miniature"}})  # fmt: skip
    training = recipe.training
    assert (training.epochs, training.learning_rate, training.warmup_ratio) == (3, 1e-5, 0.1)
    assert (training.global_batch_size, training.scheduler, training.dtype) == (128, "cosine", "bfloat16")
    assert recipe.execution.device_batch_size * 8 == training.global_batch_size
    assert (recipe.data.rows, recipe.materialization.cutoff_tokens) == (20_236, 1_024)
    assert (recipe.transform.pairs, recipe.evaluation.max_new_tokens) == (1_000, 40)
    assert recipe.connection.selector == "decision_maker"


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_recipe_loads(path: Path) -> None:
    assert load_recipe(path).runs


def test_the_reference_of_the_recipe_is_up_to_date() -> None:
    assert (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8") == recipe_reference(), "run `make docs`"
