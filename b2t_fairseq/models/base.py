"""What our three models share besides the options of the connection."""

import torch
from fairseq.models import BaseFairseqModel


class PluginModel(BaseFairseqModel):
    """Stands before fairseq's class among a model's bases."""

    @classmethod
    def hub_models(cls):
        """Return fairseq's table of models to download by name: none of ours are on a server."""
        return {}

    def prepare_for_inference_(self, cfg) -> None:
        """Prepare a model that fairseq's commands have loaded and moved to its device; with `--bf16`, in bfloat16.

        fairseq's own generate, interactive and eval-lm know only `--fp16`, which needs a GPU.
        """
        super().prepare_for_inference_(cfg)
        is_command = getattr(cfg.common_eval, "path", None)  # elsewhere it is how the checkpoint was trained
        if cfg.common.bf16 and is_command:
            self.to(torch.bfloat16)
