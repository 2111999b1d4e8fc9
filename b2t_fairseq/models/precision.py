"""`--bf16` for generate, interactive and eval-lm: fairseq itself knows only `--fp16`, which needs a GPU."""

import torch


class BFloat16Inference:
    """For a model: with `--bf16`, inference in bfloat16."""

    def prepare_for_inference_(self, cfg) -> None:
        """Called by fairseq's commands when the model is loaded and on its device."""
        super().prepare_for_inference_(cfg)
        is_command = getattr(cfg.common_eval, "path", None)  # elsewhere it is how the checkpoint was trained
        if cfg.common.bf16 and is_command:
            self.to(torch.bfloat16)
