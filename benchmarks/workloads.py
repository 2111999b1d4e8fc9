"""What a side does when it is asked: one training step, one decoded batch. Runs inside the side's own process."""

import hashlib
import os
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from fairseq import options, tasks, utils
from fairseq.dataclass.configs import GenerationConfig
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

from . import batches
from .lively import enliven


def timed(action: Callable, device: str) -> tuple[float, object]:
    """Return the seconds that `action` takes, the GPU's part included, and what it returns."""
    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    wait()
    began = time.perf_counter()
    result = action()
    wait()
    return time.perf_counter() - began, result


def parse(arguments: list[str], folder: str, device: str, vocabulary: int) -> Namespace:
    """Return fairseq-train's options, on a data folder with nothing in it but the dictionaries."""
    data = Path(folder) / f"data-{os.getpid()}"
    data.mkdir()
    for name in ("dict.txt", "dict.src.txt", "dict.tgt.txt"):
        batches.dictionary(vocabulary).save(str(data / name))
    given = [str(data), "--max-tokens=100000", f"--save-dir={data}", "--no-progress-bar", *arguments]
    given += [] if device == "cuda" else ["--cpu"]
    return options.parse_args_and_arch(options.get_training_parser(), given)


def configure(arguments: list[str], folder: str, device: str, vocabulary: int):
    """Return fairseq-train's configuration."""
    return convert_namespace_to_omegaconf(parse(arguments, folder, device, vocabulary))


class Training:
    """One update of fairseq's own trainer on one batch: forward, backward, clipping, optimizer.

    Args:
        device: "cpu" or "cuda".
        folder: for files.
        arguments: fairseq-train's, without the data folder.
        tokens: positions in the batch; fewer are words.
        vocabulary: size of the dictionary.
        block: length of a language model's blocks.
    """

    def __init__(self, device: str, folder: str, arguments: list[str], tokens: int, vocabulary: int, block: int = 1024):
        from fairseq.trainer import Trainer

        cfg = configure(arguments, folder, device, vocabulary)
        torch.manual_seed(1)
        task = tasks.setup_task(cfg.task)
        self.trainer = Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))
        if cfg.task._name == "language_modeling":
            self.sample = batches.language_model_batch(tokens, vocabulary, block=block)
        else:
            self.sample = batches.translation_batch(tokens, vocabulary)
        self.device = device
        self.trainer.begin_epoch(1)

    def measure(self) -> dict:
        """Return the seconds of one update, and the loss before it."""
        with mock.patch.object(torch.cuda, "reset_peak_memory_stats"):  # which fairseq does after each update
            seconds, log = timed(lambda: self.trainer.train_step([self.sample]), self.device)
        return {"seconds": seconds, "tokens": self.sample["ntokens"], "loss": float(log["loss"])}

    def facts(self) -> dict:
        """Return what does not change from one measurement to the next."""
        return {"parameters": sum(p.numel() for p in self.trainer.model.parameters())}


class Decoding:
    """One batch through fairseq's sequence generator, as fairseq-generate calls it.

    Both sides have the same weights: those of a random stock model, its output layer made lively, which the side that
    comes first (the baseline) leaves in the folder.

    Args:
        device: "cpu" or "cuda".
        folder: for files.
        arguments: fairseq-train's model options.
        sentences: B.
        beam: hypotheses per sentence.
        vocabulary: size of the dictionary.
        bf16: decode in bfloat16.
        times: how many times as long as the source the hypotheses are, about.
        best: compare only each sentence's best hypothesis.
    """

    def __init__(
        self,
        device: str,
        folder: str,
        arguments: list[str],
        sentences: int,
        beam: int,
        vocabulary: int,
        bf16: bool = False,
        times: int = 1,
        best: bool = False,
    ):
        self.kept = 1 if best else beam
        cfg = configure(arguments, folder, device, vocabulary)
        torch.manual_seed(1)
        self.task = tasks.setup_task(cfg.task)
        self.model = self.task.build_model(cfg.model)
        sample = batches.translation_batch(0, vocabulary, seed=3, sentences=sentences)
        weights = Path(folder) / "weights.pt"
        if not weights.exists():
            enliven(self.model, self.task, sample, times)
            torch.save(self.model.state_dict(), weights)
        self.model.load_state_dict(torch.load(weights))
        self.model.eval().to(device=device, dtype=torch.bfloat16 if bf16 else torch.float32)
        self.model.prepare_for_inference_(cfg)
        search = GenerationConfig(beam=beam, max_len_a=times, max_len_b=20)
        self.generator = self.task.build_generator([self.model], search)
        self.sample, self.device = utils.move_to_cuda(sample) if device == "cuda" else sample, device

    def measure(self) -> dict:
        """Return the seconds of one batch, the best hypotheses' tokens, a hash of all hypotheses, and their scores."""
        decode = lambda: self.task.inference_step(self.generator, [self.model], self.sample)  # noqa: E731
        seconds, hypotheses = timed(decode, self.device)
        kept = [sentence[: self.kept] for sentence in hypotheses]
        texts = [[hypothesis["tokens"].tolist() for hypothesis in sentence] for sentence in kept]
        return of_texts(seconds, texts, [float(hypothesis["score"]) for sentence in kept for hypothesis in sentence])

    def facts(self) -> dict:
        """Return what does not change from one measurement to the next."""
        return {"parameters": sum(p.numel() for p in self.model.parameters())}


def of_texts(seconds: float, texts: list[list[list[int]]], scores: list[float]) -> dict:
    """Return a measurement of decoding: the best hypotheses' tokens, a hash of all hypotheses, and their scores."""
    lengths = [len(sentence[0]) for sentence in texts]
    return {
        "seconds": seconds,
        "tokens": sum(lengths),
        "lengths": [min(lengths), max(lengths)],
        "hypotheses": hashlib.sha256(repr(texts).encode()).hexdigest()[:12],
        "scores": scores,
    }


class CTranslate2:
    """One batch through CTranslate2, with the weights of `Decoding`'s random stock model.

    Its own converter for fairseq makes the model. A batch is one call, not cut into smaller ones.

    Args:
        device: "cpu" or "cuda".
        folder: for files.
        compute_type: "float32", or "int8": then also the weights are quantised.
        given: the other arguments of `Decoding`.
    """

    def __init__(self, device: str, folder: str, compute_type: str = "float32", **given):
        import ctranslate2
        from ctranslate2.converters import FairseqConverter

        stock = Decoding(device, folder, **given)
        self.dictionary = stock.task.target_dictionary
        self.parameters = stock.facts()
        args = parse(given["arguments"], tempfile.mkdtemp(dir=folder), device, given["vocabulary"])
        state = {name: weight.clone() for name, weight in torch.load(Path(folder) / "weights.pt").items()}
        torch.save({"args": args, "model": state}, Path(folder) / "stock.pt")
        converter = FairseqConverter(str(Path(folder) / "stock.pt"), args.data, unsafe_deserialization=True)
        made = converter.convert(str(Path(folder) / "ctranslate2"), quantization=None, force=True)
        threads = {"inter_threads": 1, "intra_threads": torch.get_num_threads()}
        self.translator = ctranslate2.Translator(made, device=device, compute_type=compute_type, **threads)
        rows = stock.sample["net_input"]["src_tokens"].tolist()
        special = (batches.PAD, batches.EOS)
        self.sources = [[self.dictionary[token] for token in row if token not in special] for row in rows]
        longest = max(map(len, self.sources)) + 1
        self.search = {"beam_size": given["beam"], "max_decoding_length": longest + 20, "max_batch_size": 0}

    def measure(self) -> dict:
        """Return the seconds of one batch, and its best hypotheses."""
        work = lambda: self.translator.translate_batch(self.sources, return_scores=True, **self.search)  # noqa: E731
        seconds, results = timed(work, "cpu")  # it waits for a GPU by itself
        texts = [[[*map(self.dictionary.index, result.hypotheses[0]), batches.EOS]] for result in results]
        return of_texts(seconds, texts, [float(result.scores[0]) for result in results])

    def facts(self) -> dict:
        """Return what does not change from one measurement to the next."""
        return self.parameters


class Products:
    """The machine's own limit: the matrix products (M, K) x (K, N), alone.

    Args:
        device: "cpu" or "cuda".
        folder: unused.
        shapes: (M, K, N) of each.
        dtype: name of torch's type.
        seconds: for which each product is repeated.
    """

    def __init__(self, device: str, folder: str, shapes: list, dtype: str = "float32", seconds: float = 0.2):
        self.kind = {"dtype": getattr(torch, dtype), "device": device}
        self.shapes, self.device, self.least = shapes, device, seconds

    def measure(self) -> dict:
        """Return the seconds of all products, each once, and the GFLOP/s of the best shape."""
        each = [self._seconds(*shape) for shape in self.shapes]
        rates = [2 * m * k * n / s / 1e9 for (m, k, n), s in zip(self.shapes, each, strict=True)]
        return {"seconds": sum(each), "gflops": max(rates)}

    def _seconds(self, m: int, k: int, n: int) -> float:
        left, right = torch.randn(m, k, **self.kind), torch.randn(k, n, **self.kind)
        once, _ = timed(lambda: left @ right, self.device)  # also the warm-up
        repeats = max(3, round(self.least / max(once, 1e-5)))
        return timed(lambda: [left @ right for _ in range(repeats)], self.device)[0] / repeats

    def facts(self) -> dict:
        """Return an empty dictionary: no facts are needed."""
        return {}


class OperatorCalls:
    """How many operators of torch another workload calls, views not counted: what a GPU would be launched for.

    On a CPU the paths of a GPU are taken, without compiled kernels. The plugin must be there, on the stock side, too.

    Args:
        device: "cpu" or "cuda".
        folder: for files.
        workload: name of the other one.
        options: its arguments.
    """

    def __init__(self, device: str, folder: str, workload: str, **options):
        self.work, self.is_first = WORKLOADS[workload](device, folder, **options), True

    def measure(self) -> dict:
        """Return the seconds under the counter, and the calls."""
        from b2t_fairseq.experiments.device_check.costs import Calls, as_on_a_gpu

        with as_on_a_gpu():
            if self.is_first:  # in which the optimizer makes its state
                self.work.measure()
            with Calls() as counted:
                measured = self.work.measure()
        self.is_first = False
        return {"seconds": measured["seconds"], "calls": counted.count}

    def facts(self) -> dict:
        """Return what does not change from one measurement to the next."""
        return self.work.facts()


WORKLOADS: dict[str, Callable] = {
    "training": Training,
    "decoding": Decoding,
    "ctranslate2": CTranslate2,
    "products": Products,
    "calls": OperatorCalls,
}
