"""The table of commands, and the start of one of them."""

import importlib

PACKAGE = __package__.rpartition(".")[0]
#: commands of fairseq's
FAIRSEQ_COMMANDS = ("train", "hydra-train", "generate", "interactive", "validate", "eval-lm", "preprocess", "score")
#: command -> (module of ours with `main(arguments)`, what it does)
OUR_COMMANDS = {
    "analyze": (".analysis.analyze", "gradients, similarities, variances and learned weights, layer by layer"),
    "average-checkpoints": (".average_checkpoints", "the average of several checkpoints' parameters"),
    "bleu": (".evaluation.bleu", "SacreBLEU of fairseq-generate's output, with its signature"),
    "completion": (".commands.completion", "completion of this command, for the shell that is named"),
    "convert": (".interchange.incoming.command", "another code's checkpoint as ours: B2T's, ResiDual's, Admin's, …"),
    "dlcl-weights": (
        ".analysis.weights",
        "the layer combination that a DLCL checkpoint has learned, also as a figure",
    ),
    "depth-check": (".analysis.depth_check", "gradients, variances and first losses of all connections"),
    "device-check": (".experiments.device_check.command", "does everything work, and how fast, on this GPU or CPU?"),
    "doctor": (".commands.doctor", "is this environment sound? versions, devices, kernels, and how to fix what is not"),
    "export": (".interchange.outgoing.export", "a trained model for other programs: safetensors, CTranslate2"),
    "paper-train": (".experiments.train", "the paper's training on any number of GPUs, with its effective batch"),
    "paper-evaluate": (".experiments.evaluate", "average, decode and score: the paper's table row"),
    "patches": (".patches.listing", "what we change in fairseq: what, why, and whether it is active here"),
    "perplexity": (".evaluation.perplexity", "perplexity per word of eval-lm's output, of complete texts only"),
    "prepare": (".experiments.prepare", "the paper's corpora, fetched, checked and binarised"),
    "quickstart": (".experiments.quickstart", "corpus, training, averaging, decoding and scores in one go"),
    "reproduce": (".experiments.reproduce", "the paper's tables, figures and findings, at laptop or paper scale"),
    "rouge": (".evaluation.rouge", "ROUGE F1 of fairseq-generate's output, with confidence intervals"),
    "transcribe": (".transcribe", "WAV and FLAC files to text, by a trained speech recogniser"),
    "wer": (".evaluation.wer", "word and character error rate of fairseq-generate's output, with counts"),
}


def start(command: str, arguments: list[str]) -> int | None:
    """Run a known command."""
    from . import of_fairseq  # here, because it takes a tenth of a second that --help need not wait

    with of_fairseq.one_line_refusals():
        if command in OUR_COMMANDS:
            return importlib.import_module(OUR_COMMANDS[command][0], PACKAGE).main(arguments)
        return of_fairseq.run(command, arguments)
