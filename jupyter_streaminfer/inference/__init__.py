"""What computes: batcher, scheduler, KV cache, sampler, model families. torch is imported in this room only."""
