"""torch's linear layer (oneDNN in bf16) at our shapes, the peer of `ws bench gemm --compute bf16`.

    linear.py SHAPES [--seconds 0.4] [--threads 2] [--dtype bf16|f32] [--gradient]

SHAPES: MxNxK,...; y [M, N] = x [M, K] W [N, K]^T, or with --gradient x [M, K] W [K, N].  Both sides and the result are of the
type, as a model has them.  A JSON line a shape: the best rate of about a millisecond or more within the seconds, as ours is
measured.  Which instructions it uses: ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY.
"""
import argparse
import json
import time

import torch


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("shapes")
    p.add_argument("--seconds", type=float, default=0.4)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--dtype", default="bf16", choices=["bf16", "f32"])
    p.add_argument("--gradient", action="store_true")
    o = p.parse_args()
    torch.set_num_threads(o.threads)
    dtype = torch.bfloat16 if o.dtype == "bf16" else torch.float32
    for shape in o.shapes.split(","):
        m, n, k = (int(v) for v in shape.split("x"))
        x, w = torch.randn(m, k).to(dtype), torch.randn(*((k, n) if o.gradient else (n, k))).to(dtype)
        product = (lambda: torch.matmul(x, w)) if o.gradient else (lambda: torch.nn.functional.linear(x, w))
        flops, best = 2.0 * m * n * k, 0.0
        times = 1 + int(2e8 / flops)
        with torch.inference_mode():
            product()  # threads are started, buffers taken
            end = time.perf_counter() + o.seconds
            while time.perf_counter() < end:
                t = time.perf_counter()
                for _ in range(times):
                    product()
                best = max(best, times / (time.perf_counter() - t))
        print(json.dumps(dict(op="nn" if o.gradient else "nt", m=m, n=n, k=k, gflops=round(flops * best * 1e-9, 2))), flush=True)


if __name__ == "__main__":
    main()
