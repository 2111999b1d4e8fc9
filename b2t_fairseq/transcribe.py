"""From WAV and FLAC files to text: `b2t-fairseq transcribe --path checkpoint.pt --data DIR FILE…`.

Any sample rate and number of channels: the audio is made mono and resampled to 16 kHz. One line for each file:
`file<TAB>text`. A file that cannot be transcribed gets one line on stderr, the others are done all the same, and
the exit status is 2. Audio longer than the model takes (60 s with fairseq's default `--max-source-positions 6000`) is
refused, or with `--cut` transcribed up to there, with a warning.
"""

import logging
import sys
from collections.abc import Sequence

from .checkpoints.bundles import is_bundle
from .common.command_line import Parser, positive
from .common.errors import UserError
from .corpora.speech.features import AudioError
from .models.methods import add_code_options
from .models.recogniser import Recogniser


def main(arguments: Sequence[str] | None = None) -> int:
    """Print `file<TAB>text` for each file; return 0 if all could be transcribed, else 2."""
    parser = Parser(prog="b2t-fairseq transcribe", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="WAV or FLAC, any sample rate, any number of channels")
    add("--path", required=True, metavar="CHECKPOINT", help="the trained model")
    add("--data", metavar="DIR", help="the prepared data folder of its training (a bundle has all that is needed)")
    add("--beam", type=positive, default=5, metavar="N", help="hypotheses kept in the search (default: %(default)s)")
    add("--cut", action="store_true", help="transcribe the beginning of a file that is too long")
    add("--trust-checkpoint", action="store_true", help="take the checkpoint's word for classes, files and modules")
    add_code_options(add)
    options = parser.parse_args(arguments)
    logging.root.setLevel(logging.WARNING)  # fairseq tells about its dictionary, and more
    if options.data is None and not is_bundle(options.path):
        raise UserError(f"--data is missing: the prepared folder that {options.path} was trained on")
    data = options.data or options.path
    recogniser = Recogniser.load(options.path, data, options.beam, trust_checkpoint=options.trust_checkpoint)
    mistakes = 0
    for file, text in zip(options.files, recogniser.transcribe(options.files, options.cut), strict=True):
        if isinstance(text, AudioError):
            mistakes += 1
            print(f"error: {text}", file=sys.stderr)
        else:
            print(f"{file}\t{text}", flush=True)
    return 2 if mistakes else 0
