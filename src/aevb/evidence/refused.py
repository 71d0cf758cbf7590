"""log p(x) by quadrature at the points that Appendix D refuses.

They are a few of a thousand, and they are the harder ones: a mean over the others would be that of easier data, and
without them Figure 3 would have no value at all. Up to three latent dimensions can be integrated.
"""

import torch
from torch import Tensor

from aevb import trees
from aevb.evidence import Evidence, Refusal, quadrature
from aevb.models import Model, Params

INTEGRABLE = (Refusal.STUCK, Refusal.HEAVY_TAIL, Refusal.UNMIXED)  # the sampler's fault, not the density's


def integrated(
    model: Model, params: Params, x: Tensor, result: Evidence, generators: list[torch.Generator]
) -> tuple[Evidence, Tensor]:
    """`result`, with the integral's estimate and error where the reason is INTEGRABLE; and where that is, (M, B).

    x (B, D), weights of M models, one generator per model. A point whose integral is not trusted either stays refused
    as it was. The diagnostics stay those of the sampler. Nothing changes for N_z > 3.
    """
    where = torch.isin(result.refusal, result.refusal.new_tensor(INTEGRABLE))
    if model.n_latent > quadrature.MAX_LATENT:
        return result, torch.zeros_like(where)
    estimate, std_error, refusal = (
        field.clone() for field in (result.estimate, result.std_error, result.refusal)
    )
    for m in where.any(1).nonzero().flatten().tolist():  # a model's points are its own
        points = where[m].nonzero().flatten()
        exact = quadrature.evidence(model, trees.take(params, m), x[points], generators[m : m + 1])
        trusted = points[~exact.refused[0]]
        where[m] = False
        where[m, trusted] = True
        estimate[m, trusted] = exact.log_prob[0].to(estimate)[~exact.refused[0]]
        std_error[m, trusted] = exact.std_error[0].to(std_error)[~exact.refused[0]]
        refusal[m, trusted] = Refusal.NONE
    return result._replace(estimate=estimate, std_error=std_error, refusal=refusal), where
