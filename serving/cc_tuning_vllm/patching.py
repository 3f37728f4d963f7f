"""Functions of vLLM that are replaced by ones that call them, where vLLM promises no interface.

| replaced | in the processes of | why | by |
|---|---|---|---|
| `InputProcessor.process_inputs` | the front end | say how a request is connected | `entrance` |
| `InputProcessor.__init__` | the front end | collect what workers count | `entrance` |
| `beam_search`, offline and online | the front end | refuse it | `entrance` |
| `generate_block_hash_extra_keys` | the engine's core | keep the prefix cache right | `prefix_cache` |
| `VllmConfig._get_v2_model_runner_unsupported_features` | all | stay with the V1 model runner | `refusals` |
| `GPUModelRunner._model_forward` | the workers | connect | `model_runner` |

Each replacement leaves models without a connection as they are. What vLLM has an interface for goes through it: the
entry point, the table of architectures, the check of a configuration, and the loading of weights.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

_MARK = "calls_of_cc_tuning"


def replace_once(owner: Any, name: str, calling: Callable[..., Any]) -> None:
    """Replace the function `name` of a class or module by `calling(original, *its arguments)`; twice is once."""
    original = getattr(owner, name)
    if hasattr(original, _MARK):
        return

    @wraps(original)
    def replaced(*args: Any, **named: Any) -> Any:
        return calling(original, *args, **named)

    setattr(replaced, _MARK, True)
    setattr(owner, name, replaced)
