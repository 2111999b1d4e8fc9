"""What a step costs on the device: memory, operator calls, time; ours beside stock fairseq's Post-LN.

    memory     peak of an update of the paper's WMT model at its max-tokens, and the cost model's estimate
    calls      operators of torch that an update or a decoded batch calls, views not counted: what a GPU is launched for
    speed      tokens a second, ours and stock in turns

Stock's layers run in this process, beside ours; `python -m benchmarks` gives each side a process of its own.
"""

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from unittest import mock

import torch
from fairseq.sequence_generator import SequenceGenerator
from fairseq.trainer import Trainer
from torch.utils._python_dispatch import TorchDispatchMode

from ... import native
from ...interchange.incoming.command import numbered
from ...layers import attention
from .. import costs
from ..tasks import PAPER_CORPORA
from .bench import WIDTH, Case, Figure, NotRun, Settings, random_sample, sizes, to, trainer
from .training import FUSED, NO_DROPOUT, PRECISIONS

STOCK, OURS = "arch:transformer", ("post", "b2t")
VOCABULARY = 32_768  # of the models whose speed and memory is measured
BEAM, SENTENCES, WORDS = 4, 16, 28
WARM_UP = 2
COUNTED_DEPTH, COUNTED_TOKENS, COUNTED_VOCABULARY = "6-6", 280, 200
MEMORY = (("float32", "fp32"), ("fp16", "fp16"), ("bf16", "bf16"))  # training's name, the cost model's
NEAR = 0.35  # how far the estimate may be from what was measured


def cases(settings: Settings) -> Iterator[Case]:
    """Yield the cases."""
    for connection in OURS:
        yield Case("calls", f"update, {connection}", functools.partial(calls_of_update, settings, connection, ()))
        yield Case("calls", f"decoding, {connection}", functools.partial(calls_of_decoding, settings, connection))
    yield Case("calls", f"update, b2t {FUSED[0]}", functools.partial(calls_of_update, settings, "b2t", FUSED[:1]))
    for depth in ("6-6", "18-18"):
        for precision, name in MEMORY:
            for more in ((), ("--checkpoint-activations",)):
                run = functools.partial(memory, settings, depth, precision, name, more)
                yield Case("memory", " ".join((f"b2t {depth}, {precision}", *more)), run)
    for depth in settings.depths:
        for precision in ("float32", "fp16", "bf16") if settings.device == "cuda" else ("float32",):
            for connection in OURS:
                run = functools.partial(training_speed, settings, depth, precision, connection, ())
                yield Case("speed", f"training, {connection} {depth}, {precision}", run)
            run = functools.partial(training_speed, settings, depth, precision, "b2t", FUSED)
            yield Case("speed", f"training, b2t {depth} fused, {precision}", run)
        for dtype in (torch.float32, torch.float16) if settings.device == "cuda" else (torch.float32,):
            for connection in OURS:
                run = functools.partial(decoding_speed, settings, depth, dtype, connection)
                name = str(dtype).removeprefix("torch.")
                yield Case("speed", f"decoding, {connection} {depth}, beam {BEAM}, {SENTENCES} sentences, {name}", run)


# --- operator calls


class Calls(TorchDispatchMode):
    """Counts the operators that are called inside, but for those that only look at a tensor in another shape."""

    VIEWS = frozenset(
        """view _unsafe_view reshape _reshape_alias permute transpose t unsqueeze squeeze expand select slice split
        split_with_sizes chunk unbind as_strided detach alias diagonal narrow unfold movedim empty empty_like
        empty_strided new_empty new_empty_strided is_same_size lift_fresh""".split()  # noqa: SIM905
    )

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function._overloadpacket.__name__ not in self.VIEWS
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Take the paths that a GPU takes: without the CPU's compiled kernels and its plain products in attention."""
    with mock.patch.object(native, "kernels", lambda: None), mock.patch.object(attention, "LONGEST_PLAIN", 0):
        yield


def calls(work: Callable[[], object]) -> int:
    """Return the operator calls of some work, the second time it is done."""
    with as_on_a_gpu():
        work()
        with Calls() as counted:
            work()
    return counted.count


def calls_of_update(settings: Settings, connection: str, more: tuple[str, ...]) -> list[Figure]:
    """Compare the operator calls of an update with stock's; without dropout, which a CPU draws in its own way."""
    found = []
    for method, options in ((connection, more), (STOCK, ())):
        made = narrow(settings, method, (*NO_DROPOUT, *options))
        sample = random_sample(COUNTED_TOKENS, COUNTED_VOCABULARY)
        found.append(calls(functools.partial(made.train_step, [sample])))
    return beside_stock(*found)


def calls_of_decoding(settings: Settings, connection: str) -> list[Figure]:
    """Compare the operator calls of a decoded batch with stock's: as many steps, since no sentence ends before."""
    found = []
    for method in (connection, STOCK):
        work = decoding(settings, narrow(settings, method, NO_DROPOUT), torch.float32, COUNTED_VOCABULARY)
        found.append(calls(work))
    return beside_stock(*found)


def narrow(settings: Settings, method: str, arguments: tuple[str, ...]) -> Trainer:
    """Return a trainer of a narrow model."""
    words = numbered(COUNTED_VOCABULARY)
    return trainer(settings, settings.device, words, method, [*sizes(COUNTED_DEPTH, WIDTH), *arguments])


def beside_stock(ours: int, stock: int) -> list[Figure]:
    """Return both counts; ours must not be the higher one."""
    return [Figure("ours", ours, stock, "calls"), Figure("stock", stock, None, "calls")]


# --- memory


def memory(settings: Settings, depth: str, precision: str, name: str, more: tuple[str, ...]) -> list[Figure]:
    """Compare the peak of an update with the cost model's estimate."""
    if settings.device != "cuda":
        raise NotRun("only a GPU's memory is counted exactly")
    task, corpus = next(iter(PAPER_CORPORA.values()))  # the paper's first: translation
    tokens = costs.recipe(task, corpus, depth)[1]["max-tokens"]
    estimate = costs.memory(task, corpus, depth, name, checkpointed=bool(more)) / 1e9
    if estimate * 1e9 > torch.cuda.mem_get_info()[1]:
        raise NotRun(f"the estimate, {estimate:.0f} GB, is more than this GPU has")
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    made = trainer(settings, "cuda", numbered(VOCABULARY), "b2t", [*sizes(depth, 512), *PRECISIONS[precision], *more])
    torch.cuda.reset_peak_memory_stats()
    with mock.patch.object(torch.cuda, "reset_peak_memory_stats"):  # which fairseq does after each update
        for _ in range(2):
            made.train_step([random_sample(tokens, VOCABULARY)])
    peak = (torch.cuda.max_memory_allocated() - before) / 1e9
    return [
        Figure("peak", peak, None, "GB"),
        Figure("estimate", estimate, None, "GB"),
        Figure("off by", abs(estimate / peak - 1), NEAR),
    ]


# --- speed


def training_speed(
    settings: Settings, depth: str, precision: str, connection: str, more: tuple[str, ...]
) -> list[Figure]:
    """Measure updates of ours and of stock in turns."""
    words = numbered(VOCABULARY)
    sample = random_sample(settings.tokens, VOCABULARY)
    works = []
    for method, options in ((connection, more), (STOCK, ())):
        arguments = [*sizes(depth, settings.width), *PRECISIONS[precision], *options]
        made = trainer(settings, settings.device, words, method, arguments)
        works.append(functools.partial(made.train_step, [sample]))
    return speeds(settings, works, sample["ntokens"])


def decoding_speed(settings: Settings, depth: str, dtype: torch.dtype, connection: str) -> list[Figure]:
    """Measure beam search of ours and of stock in turns."""
    works = []
    for method in (connection, STOCK):
        arguments = [*sizes(depth, settings.width), *NO_DROPOUT]
        made = trainer(settings, settings.device, numbered(VOCABULARY), method, arguments)
        works.append(decoding(settings, made, dtype, VOCABULARY))
    return speeds(settings, works, SENTENCES * WORDS)


def decoding(settings: Settings, made: Trainer, dtype: torch.dtype, vocabulary: int) -> Callable[[], object]:
    """Return the work of translating a batch into `WORDS` words each: no sentence may end before."""
    model = made.model.eval().to(dtype)
    generator = SequenceGenerator(
        [model], model.decoder.dictionary, beam_size=BEAM, max_len_a=0, max_len_b=WORDS, min_len=WORDS
    )
    sample = to(settings.device, random_sample(SENTENCES * WORDS, vocabulary))
    return torch.no_grad()(functools.partial(generator.generate, [model], sample))


def speeds(settings: Settings, works: list[Callable[[], object]], tokens: int) -> list[Figure]:
    """Return tokens a second of both works, and the median of the paired ratios."""
    for work in works * WARM_UP:
        work()
    seconds: list[list[float]] = [[], []]
    for _ in range(settings.pairs):
        for work, each in zip(works, seconds, strict=True):
            each.append(timed(work, settings.device))
    ratios = [stock / ours for ours, stock in zip(*seconds, strict=True)]
    ours, stock = (tokens / statistics.median(each) for each in seconds)
    return [
        Figure("ratio", statistics.median(ratios), None, "x stock"),
        Figure("least", min(ratios)),
        Figure("most", max(ratios)),
        Figure("ours", ours, None, "tokens/s"),
        Figure("stock", stock, None, "tokens/s"),
    ]


def timed(work: Callable[[], object], device: str) -> float:
    """Return the seconds that some work takes, the GPU's part included."""
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began
