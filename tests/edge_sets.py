"""Sets of edges that are awkward for a replay that shares work between them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from circuitkit.core.component import Component, all_components
from circuitkit.core.edge import Edge, EdgeSpace, Receiver, Sender


def edge(text: str) -> Edge:
    """Read `embed->L1H0.q`."""
    sender, receiver = text.split("->")
    return Edge(Sender.parse(sender), Receiver.parse(receiver))


def random_sets(space: EdgeSpace, densities: Sequence[float], seed: int) -> Tensor:
    """One set a density: every edge is in it with this probability."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(len(densities), *space.possible.shape, generator=generator)
    return (drawn < torch.tensor(densities)[:, None, None]) & space.possible


def very_different(space: EdgeSpace, seed: int) -> Tensor:
    """Full, empty, sparse, dense and node-like sets side by side, two of them the same."""
    components = all_components(space.n_layers, space.n_heads)
    some = torch.randperm(len(components), generator=torch.Generator().manual_seed(seed))[: len(components) // 2]
    nodes = [components[i] for i in some.tolist()]
    sets = random_sets(space, [0.05, 0.5, 0.95, 0.3], seed)
    more = [torch.zeros_like(space.possible), space.possible, space.of_nodes(nodes), space.between(nodes)]
    return torch.stack([*sets, *more, sets[1]])


def prefixes_at_receiver(space: EdgeSpace, seed: int) -> Tensor:
    """As ACDC tests them: from a set with holes, every next set loses one more edge of the same receiver."""
    base = random_sets(space, [0.8], seed)[0]
    last = space.n_layers - 1
    out: list[Tensor] = []
    for name in (f"L{last}H1.k", f"MLP{last - 1}", "logits"):
        row = space.receiver_index[Receiver.parse(name)]
        one = base.clone()
        one[row] = space.possible[row]
        for column in reversed(range(space.n_upstream(space.receivers[row]))):
            one = one.clone()
            one[row, column] = False
            out.append(one)
    return torch.stack(out)


def prefixes_through_model(space: EdgeSpace, seed: int, n_sets: int = 12) -> Tensor:
    """A third of all edges removed from the logits down, as ACDC goes, in steps that run across receivers."""
    gone = space.possible & ~random_sets(space, [0.67], seed)[0]
    order = gone.nonzero().tolist()[::-1]
    step = len(order) // n_sets + 1
    one, out = space.possible.clone(), list[Tensor]()
    for start in range(0, len(order), step):
        one = one.clone()
        for row, column in order[start : start + step]:
            one[row, column] = False
        out.append(one)
    return torch.stack(out)


def single_edges(space: EdgeSpace, seed: int, n_sets: int = 10) -> Tensor:
    """Full sets that lack one edge, and sets of one edge: at random, and at the ends of the model."""
    order = space.edges()
    drawn = torch.randperm(len(order), generator=torch.Generator().manual_seed(seed))[:n_sets].tolist()
    last = space.n_layers - 1
    chosen = [order[i] for i in drawn]
    chosen += [edge("embed->logits"), edge("embed->L0H0.v"), edge(f"MLP{last}->logits"), edge(f"L{last}H0->MLP{last}")]
    sets: list[Tensor] = []
    for one in chosen:
        alone = space.mask([one])
        sets += [space.possible & ~alone, alone]
    return torch.stack(sets)


def one_input_of_a_head(space: EdgeSpace, seed: int) -> Tensor:
    """Heads of which only q, only k, only v, or all but one of them read what is written now."""
    sets: list[Tensor] = []
    base = random_sets(space, [0.9], seed)[0]
    for head in (Component(0, 1), Component(space.n_layers - 1, 2)):
        rows = {name: space.receiver_index[Receiver(head, name)] for name in ("q", "k", "v")}
        for name, row in rows.items():
            for start in (base, space.possible):
                only = start.clone()
                only[[other_row for other, other_row in rows.items() if other != name]] = False
                only[row] = space.possible[row]
                without = start.clone()
                without[row] = False
                sets += [only, without]
    return torch.stack(sets)


def dead_components(space: EdgeSpace, seed: int) -> Tensor:
    """Components that nobody reads, that read nothing, that are only read by the dead, and whole dead layers."""
    base = random_sets(space, [0.85], seed)[0]
    middle = space.n_layers // 2
    sets: list[Tensor] = []
    for component in (Component(0, 3), Component(0), Component(middle, 0), Component(middle)):
        rows = torch.tensor([receiver.component == component for receiver in space.receivers])
        column = space.sender_index[Sender(component)]
        unread, unreading = base.clone(), base.clone()
        unread[:, column] = False
        unreading[rows] = False
        sets += [unread, unreading]
    only_by_dead = base.clone()  # L0H0 is read by MLP0 alone, which nobody reads
    only_by_dead[:, space.sender_index[Sender.parse("L0H0")]] = False
    only_by_dead[:, space.sender_index[Sender.parse("MLP0")]] = False
    only_by_dead[space.receiver_index[Receiver.parse("MLP0")], space.sender_index[Sender.parse("L0H0")]] = True
    no_first_layer, no_last_layer, no_embed = base.clone(), base.clone(), base.clone()
    no_first_layer[:, 1 : space.n_heads + 2] = False
    no_last_layer[:, -space.n_heads - 1 :] = False
    no_embed[:, 0] = False
    return torch.stack([*sets, only_by_dead, no_first_layer, no_last_layer, no_embed])


def single_paths(space: EdgeSpace, seed: int) -> Tensor:
    """Chains from the embedding to the logits, and chains with a link missing."""
    last, head = space.n_layers - 1, seed % space.n_heads
    chains = [
        ["embed->logits"],
        [f"embed->L0H{head}.v", f"L0H{head}->L{last}H0.k", f"L{last}H0->logits"],
        [f"embed->L0H{head}.v", f"L0H{head}->L{last}H2.v", f"L{last}H2->logits"],
        [f"embed->L0H{head}.k", f"L0H{head}->L{last}H3.q", f"L{last}H3->logits"],
        ["embed->MLP0", f"MLP0->L{last}H1.v", f"L{last}H1->logits"],
        [f"embed->L0H{head}.q", f"L0H{head}->MLP0", f"MLP0->MLP{last}", f"MLP{last}->logits"],
        ["embed->MLP0", f"MLP0->L{last}H1.q", f"L{last}H1->MLP{last}", f"MLP{last}->logits", f"L{last}H1->logits"],
        ["embed->MLP0", f"L{last}H1->MLP{last}", f"MLP{last}->logits"],
    ]
    return torch.stack([space.mask(edge(text) for text in chain) for chain in chains])


def few_edges(space: EdgeSpace, seed: int) -> Tensor:
    """Sets in which most components have one reader, or none."""
    return random_sets(space, [0.08, 0.12, 0.16, 0.2, 0.25], seed)


AWKWARD = {
    make.__name__: make
    for make in (
        very_different,
        prefixes_at_receiver,
        prefixes_through_model,
        single_edges,
        one_input_of_a_head,
        dead_components,
        single_paths,
        few_edges,
    )
}
