"""The stack: owns the layers and the connection, opens the stream, loops over the layers, closes it."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..common.errors import UserError
from ..connections.base import Connection
from ..connections.config import StackConfig
from .layer import Context, TransformerLayer
from .recompute import recomputed


class Stack(nn.Module):
    """L Transformer layers joined by one connection.

    It stands where stock fairseq has its list of layers (`encoder.layers`), and is indexed like that list, so its
    parameters keep their stock names: `encoder.layers.0.fc1.weight`. The connection's own, if it has any, are
    `encoder.layers.connection.*`. The stack's final LayerNorm stays where fairseq has it, in the encoder or decoder.

    Args:
        config: sizes of the stack.
        connection: how the sub-layers are joined.
        layerdrop: probability of skipping a layer in training (LayerDrop, Fan et al. 2020).
        checkpoint_activations: recompute each layer in the backward pass instead of keeping its activations.
        compile_layers: train with torch.compile's form of the layer.

    Raises:
        UserError: LayerDrop, and a connection that it would break.
    """

    def __init__(
        self,
        config: StackConfig,
        connection: Connection,
        layerdrop: float = 0.0,
        checkpoint_activations: bool = False,
        compile_layers: bool = False,
    ):
        super().__init__()
        if layerdrop > 0 and connection.needs_all_layers:
            option = f"--{config.side}-layerdrop {layerdrop}"
            raise UserError(f"{option}: connection '{connection.name}' needs every layer: use 0, or another connection")
        self.config = config
        self.layerdrop, self.compile_layers = layerdrop, compile_layers
        self.checkpoint_activations = checkpoint_activations
        for i in range(config.depth):
            self.add_module(str(i), TransformerLayer(config, connection, number=i + 1))
        self.connection = connection
        self.init_name = "default"  # shown by print(model)

    def __len__(self) -> int:
        return self.config.depth

    def __getitem__(self, i: int) -> TransformerLayer:
        """Return layer i = 0...L-1; a negative i counts from the end, as in a list."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"layer {i} of a stack of {len(self)} layers")
        return cast(TransformerLayer, self.get_submodule(str(i % len(self))))

    def __iter__(self) -> Iterator[TransformerLayer]:
        return (self[i] for i in range(len(self)))

    def forward(
        self,
        x: Tensor,
        context: Context,
        final_norm: nn.Module | None = None,
        hidden: list[Tensor] | None = None,
        weights_from: int | None = None,
        weights_to: list[Tensor] | None = None,
    ) -> Tensor:
        """Run the stack.

        Args:
            x: (T, B, C), the embedding.
            context: masks, encoder states and caches.
            final_norm: the LayerNorm after the stack, if the connection has one.
            hidden: if given, each layer's output (T, B, C) is appended to it.
            weights_from: index of the layer whose attention probabilities are wanted.
            weights_to: where they are appended.

        Returns:
            (T, B, C).
        """
        compiles = self.compile_layers and self.training
        stream = self.connection.open(x.contiguous() if compiles else x)  # then the first layer compiles like the rest
        run = compiled() if compiles else run_layer
        recomputes = self.checkpoint_activations and torch.is_grad_enabled()
        shared = list(self.connection.parameters()) if recomputes else []
        for i, layer in self.kept_layers():
            if recomputes and i != weights_from:
                only = functools.partial(run, layer, self.connection)
                # compiled with and without a graph, dropout would draw different masks
                stream = recomputed(only, stream, context, list(layer.parameters()), shared, graph_at_first=compiles)
            else:
                sink = weights_to if i == weights_from else None
                stream = run(layer, self.connection, stream, context, sink)
            if hidden is not None:
                hidden.append(self.connection.output(stream))
        return self.connection.close(stream, final_norm)

    def kept_layers(self) -> Iterator[tuple[int, TransformerLayer]]:
        """All layers; in training without those that LayerDrop drops."""
        dropping = self.training and self.layerdrop > 0
        kept = torch.rand(len(self)).gt(self.layerdrop).tolist() if dropping else [True] * len(self)
        return ((i, layer) for i, layer in enumerate(self) if kept[i])

    def extra_repr(self) -> str:
        kept = f"layerdrop={self.layerdrop}, checkpoint_activations={self.checkpoint_activations}"
        return f"connection={self.connection.name}, init={self.init_name}, layers={len(self)}, {kept}"


def run_layer(
    layer: TransformerLayer,
    connection: Connection,
    stream: Any,
    context: Context,
    weights_to: list[Tensor] | None = None,
) -> Any:
    """Run a layer: what torch.compile compiles, one function for all layers of a kind."""
    return layer(stream, connection, context, weights_to)


@functools.cache
def compiled() -> Callable[..., Any]:
    """`run_layer` compiled for batches of any shape; the layer's number does not make it another function."""
    if hasattr(torch._dynamo.config, "allow_unspec_int_on_nn_module"):  # torch >= 2.6
        torch._dynamo.config.allow_unspec_int_on_nn_module = True
    return torch.compile(run_layer, dynamic=True)
