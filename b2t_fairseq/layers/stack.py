"""The stack: owns the layers and the connection, opens the stream, loops over the layers, closes it."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..common.errors import UserError
from ..connections.base import Connection
from ..connections.config import StackConfig
from .branch_warmup import BranchWarmup
from .layer import Context, TransformerLayer
from .linear import use_split_products
from .recompute import recomputed
from .sharing import check_sharing


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
        split_products: train with split products (`layers/linear.py`).
        branch_warmup: how the branches grow, if they begin near 0.
        places: for each layer, the number of the parameters that it uses, from 0 on; default: each its own.

    Raises:
        UserError: LayerDrop, a branch warm-up or shared layers, and a connection that does not go with it.
    """

    def __init__(
        self,
        config: StackConfig,
        connection: Connection,
        layerdrop: float = 0.0,
        checkpoint_activations: bool = False,
        compile_layers: bool = False,
        split_products: bool = False,
        branch_warmup: BranchWarmup | None = None,
        places: Sequence[int] | None = None,
    ):
        super().__init__()
        if layerdrop > 0 and connection.needs_all_layers:
            option = f"--{config.side}-layerdrop {layerdrop}"
            raise UserError(f"{option}: connection '{connection.name}' needs every layer: use 0, or another connection")
        if branch_warmup is not None and not connection.branch_can_warm_up:
            raise UserError(
                f"--branch-warmup does not go with connection '{connection.name}', whose branches are not added: leave "
                "it out, or use another connection"
            )
        self.places = tuple(range(config.depth) if places is None else places)
        check_sharing(connection, config, self.places)
        self.config = config
        self.layerdrop, self.checkpoint_activations = layerdrop, checkpoint_activations
        self.compile_layers, self.split_products = compile_layers, split_products
        for place in range(max(self.places, default=-1) + 1):
            number = self.places.index(place) + 1
            self.add_module(str(place), TransformerLayer(config, connection, number))
        if split_products:
            use_split_products(self)
        self.connection = connection
        self.branch_warmup = branch_warmup
        self.init_name = "default"  # shown by print(model)

    def __len__(self) -> int:
        return self.config.depth

    def __getitem__(self, i: int) -> TransformerLayer:
        """Return layer i = 0...L-1; a negative i counts from the end, as in a list."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"layer {i} of a stack of {len(self)} layers")
        return cast(TransformerLayer, self.get_submodule(str(self.places[i])))

    def __iter__(self) -> Iterator[TransformerLayer]:
        return (self[i] for i in range(len(self)))

    @property
    def shares_layers(self) -> bool:
        return len(set(self.places)) < len(self)

    def unique_layers(self) -> Iterator[TransformerLayer]:
        """Return each layer once, in their order: those that have parameters of their own."""
        return iter(dict.fromkeys(self))

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
            if self.branch_warmup is not None:
                context = context._replace(branch_scale=self.branch_warmup.scale(i + 1, like=x))
            number = i + 1 if self.shares_layers else None
            if recomputes and i != weights_from:
                only = functools.partial(run, layer, self.connection, number=number)
                # compiled with and without a graph, dropout would draw different masks
                stream = recomputed(only, stream, context, list(layer.parameters()), shared, graph_at_first=compiles)
            else:
                sink = weights_to if i == weights_from else None
                stream = run(layer, self.connection, stream, context, sink, number)
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
        unique = f" of {len(set(self.places))}" if self.shares_layers else ""
        return f"connection={self.connection.name}, init={self.init_name}, layers={len(self)}{unique}, {kept}"


def run_layer(
    layer: TransformerLayer,
    connection: Connection,
    stream: Any,
    context: Context,
    weights_to: list[Tensor] | None = None,
    number: int | None = None,
) -> Any:
    """Run a layer: what torch.compile compiles, one function for all layers of a kind."""
    return layer(stream, connection, context, weights_to, number)


@functools.cache
def compiled() -> Callable[..., Any]:
    """`run_layer` compiled for batches of any shape; the layer's number does not make it another function."""
    if hasattr(torch._dynamo.config, "allow_unspec_int_on_nn_module"):  # torch >= 2.6
        torch._dynamo.config.allow_unspec_int_on_nn_module = True
    return torch.compile(run_layer, dynamic=True)
