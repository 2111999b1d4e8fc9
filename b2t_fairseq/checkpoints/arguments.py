"""A model's arguments, in whatever form fairseq has them: Namespace, hydra's mappings, a loaded checkpoint."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any


def model_argument(checkpoint: Mapping[str, Any], name: str) -> Any:
    """Return an argument of the model in a loaded checkpoint, whatever fairseq wrote it; None if it has none."""
    args = (checkpoint.get("cfg") or {}).get("model") or checkpoint.get("args")
    # OmegaConf's own mappings by attribute, too: get() of old ones raises
    return args.get(name) if isinstance(args, dict) else getattr(args, name, None)


def write(args: Any, name: str, value: Any) -> None:
    """Set an argument on a Namespace or on hydra's closed DictConfig."""
    from omegaconf import OmegaConf, open_dict

    if OmegaConf.is_config(args):
        with open_dict(args):
            args[name] = value
    else:
        setattr(args, name, value)


def as_namespace(args: Any) -> Namespace:
    """fairseq's model arguments as a flat Namespace, whether they come from the command line or from hydra.

    fairseq's `TransformerConfig.from_namespace` loses the options it does not know when it is given a DictConfig.
    """
    if isinstance(args, Namespace):
        return args
    from omegaconf import OmegaConf

    return Namespace(**OmegaConf.to_container(args, resolve=True)) if OmegaConf.is_config(args) else args
