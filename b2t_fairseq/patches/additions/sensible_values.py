"""Refuse values that make no sense before anything is built or loaded: `--dropout -1`, `--nbest 5 --beam 2`.

Without it: fairseq takes most of them, silently. With `--encoder-word-dropout 2` every word is dropped, with `--lr -1`
the loss is climbed, with `--max-update 0` alone the training never ends; others end in a ZeroDivisionError much later.
Versions: every fairseq so far.

`RANGES` is the one list, for the command line (`parse_args_and_arch`; `preprocess` has its own parser) and for hydra's
configuration, which arrives at `call_main`.
"""

import ast
import math
import re
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fairseq import checkpoint_utils, options
from fairseq.distributed import utils as distributed
from omegaconf import OmegaConf

from ...common.errors import UserError
from ..wrap import wrap


class Range(NamedTuple):
    """The values an option may have, from `low` on, and how to say it."""

    low: float
    say: str
    high: float = math.inf  # excluded
    extra: tuple[float, ...] = ()  # single values that mean "off"

    def holds(self, value: float) -> bool:
        return value in self.extra or self.low <= value < self.high  # false for NaN


SHARE = Range(0, "at least 0 and below 1", 1)
UP_TO_ONE = Range(0, "from 0 to 1", math.nextafter(1, 2))
NOT_NEGATIVE = Range(0, "at least 0")
AT_LEAST_ONE = Range(1, "at least 1")
ABOVE_ZERO = Range(math.nextafter(0, 1), "above 0")
NOT_NEGATIVE_OR_OFF = Range(0, "at least 0, or -1 for off", extra=(-1,))
FINITE = Range(-1e30, "a number", 1e30)
SEED = Range(0, "from 0 to 4294967295", 2**32)

RANGES: Mapping[str, Range] = {
    # every option that ends in "dropout" is a SHARE, too
    **dict.fromkeys(("encoder_layerdrop", "decoder_layerdrop", "label_smoothing", "momentum", "ema_decay"), SHARE),
    "ctc_weight": UP_TO_ONE,
    **dict.fromkeys(("lr", "end_learning_rate", "clip_norm", "weight_decay"), NOT_NEGATIVE),
    **dict.fromkeys(("max_update", "max_epoch", "warmup_updates", "stop_time_hours"), NOT_NEGATIVE),
    **dict.fromkeys(("save_interval_updates", "validate_interval_updates", "validate_after_updates"), NOT_NEGATIVE),
    **dict.fromkeys(("num_workers", "num_batch_buckets", "context_window", "shard_id", "prefix_size"), NOT_NEGATIVE),
    **dict.fromkeys(("max_len_a", "max_len_b", "min_len", "no_repeat_ngram_size", "thresholdsrc"), NOT_NEGATIVE),
    **dict.fromkeys(("thresholdtgt", "padding_factor", "adam_eps", "curriculum", "buffer_size"), NOT_NEGATIVE),
    "probe_interval": NOT_NEGATIVE,
    **dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_embed_dim", "decoder_embed_dim"), AT_LEAST_ONE),
    **dict.fromkeys(("encoder_ffn_embed_dim", "decoder_ffn_embed_dim", "decoder_output_dim"), AT_LEAST_ONE),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "decoder_input_dim"), AT_LEAST_ONE),
    **dict.fromkeys(("max_tokens", "max_tokens_valid", "batch_size", "batch_size_valid"), AT_LEAST_ONE),
    **dict.fromkeys(("update_freq", "beam", "nbest", "tokens_per_sample", "softmax_batch"), AT_LEAST_ONE),
    **dict.fromkeys(("max_source_positions", "max_target_positions", "num_shards"), AT_LEAST_ONE),
    **dict.fromkeys(
        ("log_interval", "save_interval", "validate_interval", "required_batch_size_multiple"), AT_LEAST_ONE
    ),
    **dict.fromkeys(("required_seq_len_multiple", "workers", "distributed_world_size"), AT_LEAST_ONE),
    **dict.fromkeys(("temperature", "fp16_init_scale", "lr_shrink", "total_num_update"), ABOVE_ZERO),
    **dict.fromkeys(("adaptive_softmax_factor", "min_loss_scale"), ABOVE_ZERO),
    **dict.fromkeys(
        ("nwordssrc", "nwordstgt", "patience", "sampling_topk", "diverse_beam_groups"), NOT_NEGATIVE_OR_OFF
    ),
    **dict.fromkeys(("keep_last_epochs", "keep_interval_updates", "keep_best_checkpoints"), NOT_NEGATIVE_OR_OFF),
    **dict.fromkeys(("lenpen", "unkpen", "diversity_rate", "lm_weight"), FINITE),
    "warmup_init_lr": NOT_NEGATIVE_OR_OFF,
    "sampling_topp": Range(math.nextafter(0, 1), "above 0 and at most 1, or -1 for off", 1 + 1e-12, (-1,)),
    "seed": SEED,
    "adam_betas": SHARE,
}


def apply() -> None:
    wrap(options, "parse_args_and_arch", __name__, _make_parse)
    wrap(distributed, "call_main", __name__, _make_call_main)
    wrap(checkpoint_utils, "load_checkpoint", __name__, _make_load_checkpoint)
    wrap(options, "get_preprocessing_parser", __name__, _make_preprocessing_parser)


def _make_call_main(original):
    def call_main(cfg, main, *args, **kwargs):
        check(dict(flat(OmegaConf.to_container(cfg))))
        return original(cfg, main, *args, **kwargs)

    return call_main


def _make_parse(original):
    def parse_args_and_arch(parser, *args, **kwargs):
        parsed = original(parser, *args, **kwargs)
        namespace = parsed[0] if isinstance(parsed, tuple) else parsed
        check(vars(namespace) if isinstance(namespace, Namespace) else {})
        return parsed

    return parse_args_and_arch


def _make_preprocessing_parser(original):
    def get_preprocessing_parser(*args, **kwargs):
        parser = original(*args, **kwargs)
        parse_args = parser.parse_args

        def parse_and_check(*args, **kwargs):
            options = parse_args(*args, **kwargs)
            check_ranges(vars(options))
            check_texts(options)
            return options

        parser.parse_args = parse_and_check
        return parser

    return get_preprocessing_parser


def flat(cfg: Any) -> Iterator[tuple[str, Any]]:
    """Yield the options of a configuration, name and value, without the sections they are in."""
    for name, value in (vars(cfg) if isinstance(cfg, Namespace) else cfg).items():
        if isinstance(value, (Namespace, dict)):
            settings = dict(flat(value))
            yield name, settings.pop("_name", None)
            yield from settings.items()
        else:
            yield name, value


def _make_load_checkpoint(original):
    """Before a training loads its checkpoint it must have an end; data and model were looked at before."""

    def load_checkpoint(cfg, trainer, *args, **kwargs):
        check_training(trainer.cfg.optimization, trainer.cfg.checkpoint)
        return original(cfg, trainer, *args, **kwargs)

    return load_checkpoint


def check(settings: Mapping[str, Any]) -> None:
    """Raise a UserError for settings that make no sense."""
    check_ranges(settings)
    check_together(settings)


def option(name: str) -> str:
    """Return an option as the command line has it."""
    return f"--{name.replace('_', '-')}"


def literal(text: str) -> Any:
    """Return the Python value that `text` writes down, or None."""
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def numbers(value: Any) -> Sequence[float]:
    """Return the numbers of an option's value, which may be one, a list, or a list written as text."""
    value = literal(value) if isinstance(value, str) else value
    if isinstance(value, (int, float)):
        return () if isinstance(value, bool) else (value,)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [n for n in value if isinstance(n, (int, float)) and not isinstance(n, bool)]
    return ()


def check_ranges(settings: Mapping[str, Any]) -> None:
    """Raise a UserError for an option outside of its range."""
    for name, value in settings.items():
        allowed = RANGES.get(name) or (SHARE if name.endswith("dropout") else None)
        if allowed and not all(map(allowed.holds, numbers(value))):
            raise UserError(f"{option(name)} {value}: must be {allowed.say}")


def check_together(settings: Mapping[str, Any]) -> None:
    """Raise a UserError for options that make no sense together."""
    nbest, beam = settings.get("nbest"), settings.get("beam")
    if nbest and beam and nbest > beam:
        raise UserError(f"--nbest {nbest} is more than --beam {beam}: raise --beam, or ask for fewer")
    longest = settings.get("max_len_b")
    if longest is not None and settings.get("max_len_a") == 0 and longest < settings.get("min_len", 0):
        raise UserError(f"--max-len-b {longest} is less than --min-len {settings['min_len']}: raise it")
    shard, shards = settings.get("shard_id"), settings.get("num_shards")
    if shard and shards and shard >= shards:
        raise UserError(f"--shard-id {shard}: with --num-shards {shards} the last one is {shards - 1}")
    betas = settings.get("adam_betas")
    if betas is not None and len(numbers(betas)) != 2:
        raise UserError(f"--adam-betas {betas}: must be two numbers, such as '(0.9, 0.98)'")
    widths = settings.get("decoder_embed_dim"), settings.get("decoder_output_dim")
    if settings.get("share_decoder_input_output_embed") and "encoder_embed_dim" in settings and len(set(widths)) > 1:
        raise UserError(
            f"--share-decoder-input-output-embed: --decoder-output-dim {widths[1]} must be the embeddings' {widths[0]}"
        )
    overrides = settings.get("model_overrides")
    if overrides is not None and not isinstance(literal(overrides), dict):
        raise UserError(f"--model-overrides {overrides}: must be a Python dictionary, such as \"{{'dropout': 0.1}}\"")
    if settings.get("lr_scheduler") == "inverse_sqrt" and settings.get("warmup_updates") == 0:
        raise UserError(
            "--warmup-updates 0: inverse_sqrt divides by it; give at least 1, or --lr-scheduler inverse_sqrt_nowarmup"
        )


def check_training(optimization: Any, checkpoint: Any) -> None:
    """Raise a UserError for `--max-update 0` (or `--max-epoch 0`) alone, with which the training would never end.

    A command that gives no limit at all trains until it is stopped, as fairseq's own examples do.
    """
    limits = (optimization.max_update, optimization.max_epoch, optimization.stop_time_hours)
    is_endless = not any(limits) and checkpoint.patience <= 0 and optimization.stop_min_lr < 0
    if is_endless and re.search(r"\bmax[-_](update|epoch)[= ]0(\s|$)", " ".join(sys.argv)):
        raise UserError("the training would never end: give --max-update N or --max-epoch N (0 means no limit)")


def check_texts(args: Any) -> None:
    """Raise a UserError for texts that `preprocess` is to binarise and that hold no word, or are not of one length."""
    languages = [args.source_lang] if args.only_source else [args.source_lang, args.target_lang]
    for name in ("trainpref", "validpref", "testpref"):
        for prefix in filter(None, (getattr(args, name) or "").split(",")):
            paths = [Path(f"{prefix}.{language}" if language else prefix) for language in languages]
            lines = {path: count_lines(path, option(name)) for path in paths if path.is_file()}
            if len(set(lines.values())) > 1:
                counts = ", ".join(f"{path} has {count:,} lines" for path, count in lines.items())
                raise UserError(f"{counts}: the two sides must have the same number; check {option(name)}")


def count_lines(path: Path, name: str) -> int:
    """Return the number of lines, as fairseq reads them, of a text that must hold a word."""
    count, is_empty = 0, True
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                count += 1
                is_empty = is_empty and not line.strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error}); convert it, for example with iconv") from None
    if is_empty:
        raise UserError(f"{path}: the file is empty; check {name}")
    return count
