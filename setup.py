"""Packaging of b2t_fairseq; fairseq itself is an extra, because which one fits depends on the Python version."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "b2t_fairseq" / "version.py").read_text()).group(1)

setup(
    name="b2t_fairseq",
    version=VERSION,
    description="Deep Transformers for fairseq: the B2T connection and the methods it is compared with",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=[*find_packages(include=["b2t_fairseq", "b2t_fairseq.*"]), "b2t_fairseq.configs"],
    # The recipes stay at the top of the repository, where users look; `experiments.recipes.configs_folder` finds both.
    package_dir={"b2t_fairseq.configs": "configs"},
    package_data={
        "b2t_fairseq": ["py.typed"],
        "b2t_fairseq.native": ["*.cpp"],
        "b2t_fairseq.configs": ["*/*.yaml"],
        "b2t_fairseq.experiments.published": ["*.yaml", "elsewhere/*.yaml"],
    },
    install_requires=[
        "torch>=1.13",
        "numpy",
        "sacrebleu>=2.0",
        "sacremoses",
        "sentencepiece",
        "subword-nmt",
        "matplotlib",
        "tqdm",
        "tensorboardX",
        "scipy",
        "soundfile",
        "kaldi-native-fbank",
        "jiwer>=4",
        "rouge-score",
        "shtab",
    ],
    extras_require={
        "ve": ["ve-fairseq==0.12.3"],
        "fixed": ["fairseq-fixed==0.12.3.1"],
        "test": [
            "hypothesis>=6",
            "pytest>=7",
            "pytest-xdist>=3.2",
            "ruff==0.17.6",
            "basedpyright==1.40.2",
            "editdistance",
        ],
    },
    entry_points={"console_scripts": ["b2t-fairseq=b2t_fairseq.cli:main"]},
)
