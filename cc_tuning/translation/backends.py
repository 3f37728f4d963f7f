"""The translator that a recipe asks for: a model's family and an engine, put together."""

from importlib.util import find_spec

from cc_tuning.errors import ConfigError
from cc_tuning.runtime.devices import resolve_device
from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.sources import Location
from cc_tuning.translation.config import TranslationConfig
from cc_tuning.translation.model_files import TranslationModel, load_model
from cc_tuning.translation.token_translator import Generator, TokenTranslator
from cc_tuning.translation.transformers_generator import TransformersGenerator


def load_translator(location: Location, config: TranslationConfig, execution: Execution) -> TokenTranslator:
    """The translator in a directory, or of the hub at a pinned revision, on the recipe's engine.

    Raises:
        ConfigError: the engine is not installed, or cannot do what the recipe asks for.
        TranslationFailed: it is not a whole model of a known family with its tokenizer, or cannot be fetched.
    """
    # Said before the model is read, or fetched.
    if config.engine == "ctranslate2" and find_spec("ctranslate2") is None:
        raise ConfigError(
            "translation.engine is 'ctranslate2', which is not installed; install it with "
            "`pip install 'cc-tuning[ct2]'`, or set `translation.engine` to transformers"
        )
    loaded = load_model(location, config.dtype)
    generator = _generator(loaded, config, execution)
    return TokenTranslator(loaded.family, generator, config, execution.translation_batch_tokens)


def _generator(loaded: TranslationModel, config: TranslationConfig, execution: Execution) -> Generator:
    if config.engine == "transformers":
        return TransformersGenerator(loaded.model.to(resolve_device(execution.device)), loaded.family, config)
    from cc_tuning.translation.ctranslate2_generator import CTranslate2Generator  # the `ct2` extra

    return CTranslate2Generator.load(loaded, config, execution)
