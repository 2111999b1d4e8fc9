"""What is compared: each case is a name and two sides.

Ours and stock get the same fairseq options; only the architecture differs, and what the case is about. Names are
`what-layers-width-tokens[-variant]`.
"""

import fnmatch
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from b2t_fairseq.checkpoints.loading import load_checkpoint
from b2t_fairseq.common.errors import UserError
from b2t_fairseq.connections import CONNECTIONS
from b2t_fairseq.models import methods

from .sides import Side

VOCABULARY = 10_000
HEADS = {64: 4, 128: 4, 512: 8}
TRANSLATION = ("--task=translation", "--source-lang=src", "--target-lang=tgt")
LOSS, LOSS_LM = "label_smoothed_cross_entropy", "cross_entropy"
UPDATE = ("--optimizer=adam", "--adam-betas=(0.9, 0.98)", "--lr=1e-5", "--clip-norm=1.0")
METHOD, CHECKPOINT = "growth-connection-", "checkpoint:"  # before the method, or the file, in a case's name
SIZES = ("layers", "embed_dim", "ffn_embed_dim", "attention_heads")
#: what a checkpoint says of its method
OF_METHOD = ("connection", "connection_options", "norm", "share_layers", "unique_layers")
BF16 = ("--amp",)  # on a CPU autocast to bfloat16


@dataclass(frozen=True)
class Case:
    """A comparison.

    Attributes:
        name: as on the command line.
        ours: one side.
        baseline: what it is compared with.
        shapes: (M, K, N) of the largest matrix products in it, whose speed alone is the machine's limit.
        dtype: of ours' products.
    """

    name: str
    ours: Side
    baseline: Side
    shapes: tuple[tuple[int, int, int], ...] = ()
    dtype: str = "float32"


def sizes(width: int, **layers: int) -> list[str]:
    """Return options for the sizes; `layers`: of encoder and decoder."""
    given = []
    for side, depth in layers.items():
        given += [f"--{side}-layers={depth}", f"--{side}-attention-heads={HEADS[width]}"]
        given += [f"--{side}-embed-dim={width}", f"--{side}-ffn-embed-dim={4 * width}"]
    return given


def training(arch: str, depth: int, width: int, tokens: int, *more: str, name: str = "", fresh: bool = False) -> Side:
    """Return a side that trains a translation model; architectures that name a connection are ours."""
    same = [*TRANSLATION, f"--criterion={LOSS}", "--label-smoothing=0.1", *UPDATE]
    same += ["--dropout=0.1", "--share-all-embeddings"]
    arguments = [f"--arch={arch}", *same, *sizes(width, encoder=depth, decoder=depth), *more]
    given = {"arguments": arguments, "tokens": tokens, "vocabulary": VOCABULARY}
    return Side(name or side_name(arch), "training", given, arch != "transformer", fresh)


def language_model(arch: str, tokens: int, *more: str, tied: bool = True) -> Side:
    """Return a side that trains a language model of 16 layers on blocks of 1,024 words."""
    same = ["--task=language_modeling", "--tokens-per-sample=1024", f"--criterion={LOSS_LM}", *UPDATE]
    same += ["--dropout=0.1", *(["--share-decoder-input-output-embed"] if tied else []), *sizes(512, decoder=16)]
    given = {"arguments": [f"--arch={arch}", *same, *more], "tokens": tokens, "vocabulary": VOCABULARY}
    return Side(side_name(arch), "training", given, arch != "transformer_lm")


def decoding(arch: str, depth: int, beam: int, sentences: int, bf16: bool = False, times: int = 1) -> Side:
    """Return a side that translates a batch at width 512, into `times` as many words."""
    arguments = [f"--arch={arch}", *TRANSLATION, *UPDATE, *sizes(512, encoder=depth, decoder=depth)]
    given = {"arguments": arguments, "sentences": sentences, "beam": beam, "vocabulary": VOCABULARY}
    return Side(side_name(arch), "decoding", {**given, "bf16": bf16, "times": times}, arch != "transformer")


def side_name(arch: str) -> str:
    """Return the connection, or stock."""
    return "stock" if arch in ("transformer", "transformer_lm") else arch.split("_6_6")[0].removeprefix("transformer_")


def arch_of(connection: str) -> str:
    """Return an architecture of ours; its sizes are all overridden."""
    return f"transformer_{connection}_6_6"


def shapes(width: int, tokens: int) -> tuple[tuple[int, int, int], ...]:
    """Return the products of a training step: attention's, both of the feed-forward layer, the output layer's."""
    wide = 4 * width
    return (tokens, width, 3 * width), (tokens, width, wide), (tokens, wide, width), (tokens, width, VOCABULARY)


def variants(loss: str, splits: bool) -> tuple[tuple[str, tuple[str, ...], str], ...]:
    """Return what ours adds: the end of the case's name, options that win over earlier ones, and the dtype.

    Args:
        loss: fairseq's, which the fused one stands for.
        splits: whether split products are one of them.
    """
    fused = ("--optimizer=adam_fused", f"--criterion={loss}_fused")
    split, bf16 = ("-split", (*fused, "--split-products"), "float32"), ("-bf16", (*fused, *BF16), "bfloat16")
    return ("", (), "float32"), ("-fused", fused, "float32"), *((split,) if splits else ()), bf16


def training_cases() -> Iterable[Case]:
    """Yield the cases of training: stock fairseq against the same model in ours, and with what ours adds."""
    post = arch_of("post")
    for depth, width in ((2, 512), (6, 512), (18, 512), (18, 128)):  # the first for profiles on slow processors
        for tokens in (1024, 2048, 4096):
            stock = training("transformer", depth, width, tokens)
            for suffix, more, dtype in variants(LOSS, splits=(width, tokens) == (512, 1024)):
                name = f"train-{depth}-{depth}-w{width}-t{tokens}{suffix}"
                yield Case(name, training(post, depth, width, tokens, *more), stock, shapes(width, tokens), dtype)
    for tokens in (1024, 2048, 4096):
        stock = language_model("transformer_lm", tokens)  # fairseq makes it Pre-LN, always
        for suffix, more, dtype in variants(LOSS_LM, splits=tokens == 1024):
            ours = language_model("transformer_lm_pre", tokens, *more)
            yield Case(f"train-lm-16-w512-t{tokens}{suffix}", ours, stock, shapes(512, tokens), dtype)
    for depth, width in ((18, 512), (18, 128)):
        sides = (training(arch_of(name), depth, width, 1024) for name in ("b2t", "post"))
        yield Case(f"b2t-over-post-{depth}-{depth}-w{width}", *sides)


def decoding_cases() -> Iterable[Case]:
    """Yield the cases of decoding: fairseq's own beam search on the same weights."""
    for depth in (6, 18):
        for search, beam in (("beam4", 4), ("greedy", 1)):
            for sentences in (1, 16, 64):
                stock, name = decoding("transformer", depth, beam, sentences), f"{depth}-{depth}-{search}-b{sentences}"
                yield Case(f"decode-{name}", decoding(arch_of("post"), depth, beam, sentences), stock)
                yield Case(f"decode-{name}-bf16", decoding(arch_of("post"), depth, beam, sentences, bf16=True), stock)
    for sentences in (16, 64):
        stock, ours = (decoding(arch, 18, 4, sentences, times=5) for arch in ("transformer", arch_of("post")))
        yield Case(f"decode-18-18-beam4-b{sentences}-long", ours, stock)


def output_cases() -> Iterable[Case]:
    """Yield the output layer and the loss, behind a single layer: the paper's WMT and WikiText-103 vocabularies."""
    fused = ("--optimizer=adam_fused", f"--criterion={LOSS}_fused")
    for tokens in (1024, 4096):
        ours, stock = training(arch_of("post"), 1, 512, tokens, *fused), training("transformer", 1, 512, tokens)
        sides = (replace(side, options={**side.options, "vocabulary": 32_768}) for side in (ours, stock))
        yield Case(f"output-v32k-w512-t{tokens}", *sides, shapes(512, tokens))
    adaptive = ("--criterion=adaptive_loss", "--adaptive-softmax-cutoff=20000,60000", "--adaptive-input")
    adaptive += ("--adaptive-input-cutoff=20000,60000", "--tie-adaptive-weights", "--tie-adaptive-proj")
    adaptive += (
        "--ddp-backend=legacy_ddp",
        "--decoder-layers=1",
        "--decoder-input-dim=512",
        "--decoder-output-dim=512",
    )
    ours = language_model("transformer_lm_pre", 2048, *adaptive, "--optimizer=adam_fused", tied=False)
    stock = language_model("transformer_lm", 2048, *adaptive, tied=False)
    sides = (replace(side, options={**side.options, "vocabulary": 267_744}) for side in (ours, stock))
    yield Case("output-adaptive-v267k-w512-t2048", *sides)


def other_engines() -> Iterable[Case]:
    """Yield decoding against CTranslate2 (`pip install ctranslate2`): float32, and bfloat16 against its int8."""
    for depth in (6, 18):
        for sentences in (1, 16, 64):
            ours, stock = (decoding(arch, depth, 4, sentences) for arch in (arch_of("post"), "transformer"))
            for suffix, compute_type in (("", "float32"), ("-bf16", "int8")):
                options = {**stock.options, "compute_type": compute_type}
                options = {key: value for key, value in options.items() if key not in ("bf16", "times")}
                name = "CTranslate2" if compute_type == "float32" else f"CTranslate2 {compute_type}"
                theirs = Side(name, "ctranslate2", options, plugin=False)
                given = {**ours.options, "best": True, "bf16": bool(suffix)}
                case = f"ctranslate2-{depth}-{depth}-beam4-b{sentences}{suffix}"
                yield Case(case, replace(ours, options=given), theirs)


def other_cases() -> Iterable[Case]:
    """Yield the other cases: memory with recomputed layers, start-up, growth, and matrix products alone."""
    for connection in ("post", "b2t", "resi_dual", "dlcl_pre"):
        plain = training(arch_of(connection), 100, 64, 2048, name="kept")
        recomputed = training(arch_of(connection), 100, 64, 2048, "--checkpoint-activations", name="recomputed")
        yield Case(f"memory-100-100-{connection}", recomputed, plain)
    plain = training(arch_of("b2t"), 6, 128, 1024, name="plain")
    yield Case("compiled-6-6-w128", training(arch_of("b2t"), 6, 128, 1024, "--compile-layers", name="compiled"), plain)
    starts = (training(arch, 18, 512, 1024, fresh=True) for arch in (arch_of("post"), "transformer"))
    yield Case("startup-18-18-w512", *starts)
    for name, work in (
        ("train", functools.partial(training, depth=6, width=64, tokens=280)),
        ("decode", functools.partial(decoding, depth=6, beam=4, sentences=16)),
    ):
        for connection in ("post", "b2t"):
            ours, stock = (counted(work(arch)) for arch in (arch_of(connection), "transformer"))
            yield Case(f"calls-{name}-6-6-{connection}", ours, stock)
    yield from growth_cases()
    products = {shape for width in (128, 512) for tokens in (1024, 4096) for shape in shapes(width, tokens)}
    for m, k, n in sorted(products):
        sides = (Side(kind, "products", {"shapes": [[m, k, n]], "dtype": kind}) for kind in ("bfloat16", "float32"))
        yield Case(f"gemm-{m}x{k}x{n}", *sides)


def growth_cases() -> Iterable[Case]:
    """Yield how time and memory grow with depth and batch: Post-LN against stock, each connection against Post-LN."""
    others = [connection for connection in CONNECTIONS if connection != "post"]
    for what, values, sizes_of in (
        ("depth", (6, 12, 25, 50, 100), lambda depth: (depth, 64, 1024)),
        ("tokens", (512, 1024, 2048, 4096, 8192), lambda tokens: (12, 64, tokens)),
    ):
        for value in values:
            post = training(arch_of("post"), *sizes_of(value))
            yield Case(f"growth-{what}-{value}", post, training("transformer", *sizes_of(value)))
            for connection in others:
                yield Case(f"growth-{what}-{value}-{connection}", training(arch_of(connection), *sizes_of(value)), post)
    for connection in others:
        yield method_case(connection)


def counted(side: Side) -> Side:
    """Return a side whose operator calls are counted; without dropout, which a CPU draws in its own way."""
    arguments = [*side.options["arguments"], "--dropout=0"]
    options = {**side.options, "arguments": arguments, "workload": side.workload}
    return replace(side, workload="calls", options=options, plugin=True)


def method_case(method: str) -> Case:
    """Return the case of a connection, or of `arch:NAME`, which is trained without our plugin if it is stock."""
    post, code = training(arch_of("post"), 18, 64, 1024), methods.code_options(method)
    if not methods.is_arch(method):
        return Case(f"{METHOD}{method}", training(arch_of(method), 18, 64, 1024, *code), post)
    arch = methods.check_method(method).removeprefix(methods.ARCH)
    ours = training(arch, 18, 64, 1024, *code, name=arch)
    return Case(f"{METHOD}{method}", replace(ours, plugin=bool(code)), post)


def with_own(cases: dict[str, Case], wanted: Iterable[str]) -> dict[str, Case]:
    """Return the cases with those of the user's connections, and of the architectures that words name."""
    own = [name for name in methods.OWN if name in CONNECTIONS]
    own += [word.removeprefix(METHOD) for word in wanted if word.startswith(f"{METHOD}{methods.ARCH}")]
    made = [method_case(name) for name in own]
    made += [checkpoint_case(word) for word in wanted if word.startswith(CHECKPOINT)]
    return cases | {case.name: case for case in made}


def checkpoint_case(name: str) -> Case:
    """Return the case `checkpoint:FILE`: the training of a translation model like that, and of Post-LN of its sizes.

    Raises:
        UserError: no such file, or another model than a translation model.
    """
    state = load_checkpoint(name.removeprefix(CHECKPOINT))
    model = (state.get("cfg") or {}).get("model") or state.get("args")
    get = lambda key: model.get(key) if isinstance(model, dict) else getattr(model, key, None)  # noqa: E731
    wide = [f"{side}_{size}" for side in ("encoder", "decoder") for size in SIZES]
    if not all(isinstance(get(key), int) for key in wide):
        raise UserError(f"{name}: only a translation model's speed can be compared: it names no {' or '.join(SIZES)}")
    same = option_words({key: get(key) for key in wide})
    method = {key: get(key) for key in OF_METHOD}
    connection = method["connection"]
    arch = arch_of(methods.check_method(connection)) if connection else str(get("arch"))
    code = methods.code_options(connection or arch)
    ours = training(arch, 6, 512, 1024, *same, *option_words(method), *code, name=connection or arch)
    return Case(name, ours, training(arch_of("post"), 6, 512, 1024, *same))


def option_words(values: dict[str, object]) -> list[str]:
    """Return values as options of fairseq-train; those that are not set are left out."""
    return [f"--{key.replace('_', '-')}={value}" for key, value in values.items() if value not in (None, "", 0)]


KINDS = (training_cases, output_cases, decoding_cases, other_engines, other_cases)
CASES = {case.name: case for kind in KINDS for case in kind()}

#: what is measured without arguments
DEFAULT = (
    "train-6-6-w512-t1024-fused",
    "train-18-18-w512-t1024-fused",
    "train-18-18-w512-t1024-bf16",
    "train-18-18-w128-t1024-fused",
    "train-lm-16-w512-t1024-fused",
    "decode-18-18-beam4-b16",
    "decode-18-18-beam4-b64",
    "memory-100-100-b2t",
    "gemm-1024x512x2048",
)


def select(wanted: Sequence[str], cases: dict[str, Case]) -> tuple[list[Case], list[str]]:
    """Return the cases that names, prefixes (`train-18-18`) or patterns (`train-*-fused`) stand for, each once.

    The second list holds the words that stand for none.
    """
    chosen, unknown = {}, []
    for word in wanted:
        fits = (
            [word] if word in cases else [n for n in cases if n.startswith(f"{word}-") or fnmatch.fnmatchcase(n, word)]
        )
        chosen |= dict.fromkeys(fits)
        unknown += [] if fits else [word]
    return [cases[name] for name in chosen], unknown
