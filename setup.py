"""Packaging of b2t_fairseq; fairseq itself is an extra, because which one fits depends on the Python version."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

#: in every installation: what training, decoding and scoring a translation model needs
CORE = [
    "torch>=2.1",
    "numpy",
    "omegaconf",
    "PyYAML",
    "sacrebleu>=2.0",
    "sacremoses",
    "sentencepiece",
    "shtab",
    "subword-nmt",
    "tensorboardX",
    "tqdm",
]
#: what some commands need; b2t_fairseq/common/optional.py has the same list by modules, for the error line
TOOLS = {
    "speech": ["jiwer>=4", "kaldi-native-fbank", "scipy", "soundfile"],
    "summarization": ["rouge-score"],
    "plots": ["matplotlib"],
    "export": ["ctranslate2>=4", "safetensors"],
}
#: what builds the site; scripts/docs.sh installs the same file, without torch
DOCS = (HERE / "docs" / "requirements.txt").read_text(encoding="utf-8").split()
EXTRAS = {
    "ve": ["ve-fairseq==0.12.3"],
    "fixed": ["fairseq-fixed==0.12.3.1"],
    **TOOLS,
    "docs": DOCS,
    "test": [
        "basedpyright==1.40.2",
        "editdistance",
        "hypothesis>=6",
        "pytest>=7",
        "pytest-xdist>=3.2",
        "ruff==0.17.6",
        *DOCS,
        *(package for packages in TOOLS.values() for package in packages),
    ],
}


def read(name):
    """Read a file beside this one."""
    return (HERE / name).read_text(encoding="utf-8")


def repository():
    """Return the project's public address, as CITATION.cff has it; None while it has none."""
    address = re.search(r'^repository-code: *"?([^"\s]+?)/?"?$', read("CITATION.cff"), flags=re.MULTILINE)
    return address and address.group(1)


def long_description(text, address):
    """Return the README for a page elsewhere: relative links become absolute, or their text if there is no address."""

    def elsewhere(link):
        is_image, name, target = link.groups()
        if re.match(r"https?://", target):
            return link.group()
        if address is None:
            return name
        page = f"{address}/{'raw' if is_image else 'blob'}/main/" if not target.startswith("#") else address
        return f"{is_image}[{name}]({page}{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", elsewhere, text)


def urls():
    """Return the addresses that the package's metadata names."""
    addresses = {"Paper": "https://arxiv.org/abs/2206.00330"}
    if address := repository():
        addresses |= {"Source": address, "Changelog": f"{address}/blob/main/CHANGELOG.md"}
    return addresses


if __name__ == "__main__":
    setup(
        name="b2t_fairseq",
        version=re.search(r'__version__ = "([^"]+)"', read("b2t_fairseq/version.py")).group(1),
        description="Deep Transformers for fairseq: the B2T connection and the methods it is compared with",
        long_description=long_description(read("README.md"), repository()),
        long_description_content_type="text/markdown",
        author="The b2t_fairseq authors",
        license="MIT",
        license_files=["LICENSE"],
        keywords=["transformer", "fairseq", "layer normalization", "residual connection", "translation"],
        classifiers=[
            "Development Status :: 4 - Beta",
            "Intended Audience :: Science/Research",
            "Operating System :: POSIX :: Linux",
            *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
            "Topic :: Scientific/Engineering :: Artificial Intelligence",
            "Typing :: Typed",
        ],
        project_urls=urls(),
        python_requires=">=3.10",
        packages=[*find_packages(include=["b2t_fairseq", "b2t_fairseq.*"]), "b2t_fairseq.configs"],
        # The recipes stay at the top of the repository, where users look;
        # `experiments.recipes.configs_folder` finds both
        package_dir={"b2t_fairseq.configs": "configs"},
        package_data={
            "b2t_fairseq": ["py.typed"],
            "b2t_fairseq.native": ["*.cpp", "*.h"],
            "b2t_fairseq.configs": ["*/*.yaml"],
            "b2t_fairseq.experiments.published": ["*.yaml", "elsewhere/*.yaml"],
        },
        install_requires=CORE,
        extras_require=EXTRAS,
        entry_points={"console_scripts": ["b2t-fairseq=b2t_fairseq.cli:main"]},
    )
