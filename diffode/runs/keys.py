"""Keys: twelve hexadecimal digits that name everything that decides a result."""

from __future__ import annotations

import hashlib
import json

import torch

from diffode.data.source import Samples, Source, chunks


def key_of(content: object) -> str:
    """The key of a JSON-able value."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def key_of_values(*values: Samples | None) -> str:
    """The key of the values of tensors, and of samples that are read a piece at a time."""
    state = hashlib.sha256()
    for samples in values:
        if samples is None:
            continue
        parts = chunks(samples) if isinstance(samples, Source) else iter((samples,))
        kind = torch.float32 if isinstance(samples, Source) else samples.dtype
        state.update(f"{kind} {tuple(samples.shape)}".encode())
        for part in parts:
            state.update(part.detach().cpu().contiguous().numpy().data)
    return state.hexdigest()[:12]
