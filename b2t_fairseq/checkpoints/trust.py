"""What a checkpoint from a stranger may ask for: `sanitise` looks through its options before anything is built.

Weights are numbers. The options beside them are words that fairseq acts on: names of classes to build, files to open,
sizes to allocate. Who loads the file decides whether to trust it (`--trust-checkpoint`); nothing in the file does.
"""

import re
from argparse import Namespace
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from fairseq import models
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_REGISTRY
from omegaconf import OmegaConf

from ..common.errors import UserError
from ..connections import CONNECTIONS

#: fairseq's classes that a checkpoint may name; those of ours, and of the user's own modules, need no list
ACCEPTED = {
    "model": ("transformer", "transformer_align", "transformer_lm", "s2t_transformer"),
    "task": ("translation", "language_modeling", "speech_to_text"),
    "criterion": (
        "cross_entropy",
        "adaptive_loss",
        "label_smoothed_cross_entropy",
        "label_smoothed_cross_entropy_with_alignment",
        "label_smoothed_cross_entropy_with_ctc",
        "label_smoothed_cross_entropy_with_rdrop",
    ),
    "bpe": ("sentencepiece", "subword_nmt", "fastbpe", "characters", "bytes", "byte_bpe"),
    "tokenizer": ("moses", "nltk", "space"),
}
#: options that name files, folders, addresses or modules, in whatever part of the configuration
NAMES_A_PLACE = re.compile(
    r"(^|_)(data|path|file|filename|dir|logdir|folder|from|from_model|codes|merges|vocab|vocab_bpe|json|url|module|"
    r"sentencepiece_model|init_method|replace_unk|model_file)s?$"
)
LOOKS_LIKE_A_PLACE = re.compile(r"[/\\]|^~|\$\{")  # the last: omegaconf's resolvers, which read the environment
MOST_NODES, DEEPEST = 100_000, 50

SIZES = re.compile(r"(dim|layers|heads|channels|kernel_sizes?|filters|positions|per_sample|experts|block_size)$")
MOST_POSITIONS = 2**17  # sinusoidal ones are not among the weights
MOST_OTHERWISE = 2**10  # of what has no weights of its own

_trusted = False


def trust_checkpoints(trusted: bool) -> None:
    """Say whether the user trusts the checkpoints that this process loads (`--trust-checkpoint`)."""
    global _trusted
    _trusted = trusted


def are_trusted() -> bool:
    """Return whether the user trusts the checkpoints that this process loads."""
    return _trusted


def sanitise(state: dict[str, Any], path: str, given: Mapping[str, Any], builds_task: bool = True) -> list[tuple]:
    """Refuse or drop, in a checkpoint just loaded, options that would run or open something on this machine.

    Args:
        state: the checkpoint; its options are changed in place.
        path: its file, for messages.
        given: what the user says instead (`--model-overrides`, keywords), which always counts.
        builds_task: whether the task is built from the checkpoint; otherwise the command line names it.

    Returns:
        The places of options that were taken out, such as `("task", "data")`.

    Raises:
        UserError: a class that is not on the list, a module that the user did not name, sizes unlike the weights'.
    """
    removed = []
    for key in ("args", "cfg"):
        options = state.get(key)
        if options is None:
            continue
        parts = _parts(options)
        for group in ACCEPTED:
            needed = group == "model" or (group == "task" and builds_task)
            if not isinstance(parts[group], dict | Namespace | (None if needed else str | None)):
                raise UserError(f"{path}: its options ({group}) are not names and values; not loaded")
            if group != "task" or builds_task:
                check_names(group, _names(group, parts[group]), path, given)
        check_connection(parts["model"], path)
        check_sizes(parts["model"], state["model"], path)
        drop_places(options, (), removed)
    return removed


def check_bounds(state: dict[str, Any], path: str) -> None:
    """Refuse options of which a few shared lists make billions when they are copied; plain containers afterwards.

    Raises:
        UserError: too many or too deep.
    """
    for key in ("args", "cfg"):
        count, rest = 0, [(state.get(key), 0)]
        while rest:
            value, depth = rest.pop()
            count += 1
            if count > MOST_NODES or depth > DEEPEST:
                raise UserError(f"{path}: its options ({key}) are nested without end, or far too many; not loaded")
            rest += [(part, depth + 1) for part in _contents(value)]
        if OmegaConf.is_config(state.get(key)):
            state[key] = OmegaConf.to_container(state[key], resolve=False)
    for key, kinds in (("args", Namespace), ("cfg", dict)):
        if not isinstance(state.get(key), kinds | None):
            raise UserError(f"{path}: its options ({key}) are not names and values; not loaded")


def _contents(value: Any) -> Collection[Any]:
    if OmegaConf.is_config(value):
        value = value.__dict__.get("_content")
    if isinstance(value, Namespace):
        value = vars(value)
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple | set) else ()


def _parts(options: Any) -> dict[str, Any]:
    """Return the options of each group; a Namespace of fairseq before 0.10 has them all in one."""
    if isinstance(options, Namespace):
        return dict.fromkeys(ACCEPTED, options)
    return {group: options.get(group) for group in ACCEPTED}


def _fields(part: Any) -> dict[str, Any]:
    part = vars(part) if isinstance(part, Namespace) else part
    return part if isinstance(part, dict) else {}


def _names(group: str, part: Any) -> list[Any]:
    """Every name that fairseq may take for the class of this group."""
    if isinstance(part, str):
        return [part]
    fields = _fields(part)
    names = [fields.get(key) for key in ("_name", "arch" if group == "model" else group)]
    if group == "model" and len(fields) == 1:  # fairseq takes a lonely key for the model's name
        names += fields
    return [name for name in names if name is not None]


def check_names(group: str, names: list[Any], path: str, given: Mapping[str, Any]) -> None:
    """Refuse a class of fairseq's that is not `ACCEPTED`.

    Raises:
        UserError: says what would be run.
    """
    if group == "model":
        registry, main_name = {**models.MODEL_REGISTRY, **models.ARCH_MODEL_REGISTRY}, models.ARCH_MODEL_NAME_REGISTRY
    else:
        registry, main_name = TASK_REGISTRY if group == "task" else REGISTRIES[group]["registry"], {}
    for name in names:
        if not isinstance(name, str):
            raise UserError(f"{path}: its {group} has no name but {str(name)[:80]!r}; not loaded")
        known = registry.get(name)
        if known is None or main_name.get(name, name) in ACCEPTED[group] or given.get(group) == name:
            continue  # an unknown name cannot be built, and is explained later
        if known.__module__.partition(".")[0] == "fairseq":
            raise UserError(
                f"{path}: its {group} '{name}' would run {known.__module__}.{known.__qualname__}, which is not taken "
                f"on a checkpoint's word; if you trust the file, add --trust-checkpoint"
            )


def check_connection(model: Any, path: str) -> None:
    """Refuse a connection that only a module of the checkpoint's choice defines.

    Raises:
        UserError: names the module.
    """
    fields = _fields(model)
    module, name = fields.get("connection_module"), fields.get("connection")
    if module and name not in CONNECTIONS:
        raise UserError(
            f"{path}: the checkpoint's connection '{name}' comes from {module}, and a checkpoint must not run code: "
            f"if you trust that file, add --connection-module {module}"
        )


def drop_places(options: Any, where: tuple, removed: list[tuple]) -> None:
    """Take out, in place, what names a file, a folder, an address or a module."""
    fields = _fields(options)
    for key, value in list(fields.items()):
        if isinstance(value, dict | Namespace):
            drop_places(value, (*where, key), removed)
        elif key != "_name" and _is_place(str(key), value):
            removed.append((*where, key))
            is_flat = not where and isinstance(options, Namespace)  # as fairseq before 0.10 saves them
            if is_flat or where and where[0] in ACCEPTED and "_name" in fields:
                del fields[key]  # fairseq then fills in its class's default
            else:
                fields[key] = None


def _is_place(name: str, value: Any) -> bool:
    if isinstance(value, list | tuple | set | dict):
        return any(_is_place(name, part) for part in _contents(value))
    return isinstance(value, str) and bool(NAMES_A_PLACE.search(name) or LOOKS_LIKE_A_PLACE.search(value))


def check_sizes(model: Any, weights: Mapping[str, Any], path: str) -> None:
    """Refuse sizes that the checkpoint's own weights do not have, before anything of that size is allocated.

    Raises:
        UserError: names the option and both sizes.
    """
    known = [models.MODEL_REGISTRY.get(n) or models.ARCH_MODEL_REGISTRY.get(n) for n in _names("model", model)]
    is_ours = [kind for kind in known if kind and kind.__module__.partition(".")[0] in ("fairseq", "b2t_fairseq")]
    if not is_ours:  # a class of the user's own may call its weights and options as it likes
        return
    is_language_model = issubclass(is_ours[0], models.FairseqLanguageModel)
    largest = max((max(w.shape, default=0) for w in weights.values() if hasattr(w, "shape")), default=0)
    most = {}
    for side in ("decoder",) if is_language_model else ("encoder", "decoder"):
        # a speech encoder's are called transformer_layers
        layers = {match[1] for name in weights if (match := re.match(rf"({side}\.\w*layers\.\d+)\.", name))}
        shares = _fields(model).get("share_layers")  # then there are more layers than weights
        most[f"{side}_layers"] = MOST_OTHERWISE if shares else len(layers)
        first = next((weights.get(f"{layer}.fc1.weight") for layer in sorted(layers)), None)
        if first is not None and first.dim() == 2:
            most[f"{side}_ffn_embed_dim"], most[f"{side}_embed_dim"] = first.shape
    for name, size in _sizes(model):
        otherwise = MOST_POSITIONS if name.endswith(("positions", "per_sample")) else MOST_OTHERWISE
        limit = most.get(name, max(largest, otherwise))
        if size > limit:
            raise UserError(f"{path}: its {name} is {size}, and its weights have {limit} at most; the file is damaged")


def _sizes(model: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Name and value of each option that is a size, also of those in lists and texts."""
    for key, value in _fields(model).items():
        name = f"{prefix}{key}"
        if isinstance(value, dict | Namespace):
            yield from _sizes(value, f"{name}_")
        elif SIZES.search(name):
            texts = [value] if isinstance(value, int | str) else _contents(value)
            yield from ((name, int(n)) for text in texts for n in re.findall(r"\d{1,20}", str(text)))
