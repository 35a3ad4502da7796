"""What passes through a local model, in floating-point operations. Ours."""

from typing import Any

from withstand.core.device import computed


def watch(model: Any) -> Any:
    """Count every pass: 2 operations per parameter and token (Kaplan et al. 2020, Scaling Laws for Neural Language
    Models, section 2.1).

    As many again where a gradient by the embeddings is wanted; one by the weights never is. Tokens are those that are
    computed: padding counts, what is kept of an earlier pass does not. Left out is attention to earlier tokens, little
    below some thousand of them; a table of embeddings that is not the output layer too is looked up and not multiplied.
    Of a mixture of experts all are counted, more than really work. The handle that is returned ends it.
    """
    embeddings = model.get_input_embeddings().weight
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    parameters = model.num_parameters()
    if output is None or output.weight is not embeddings:
        parameters -= embeddings.numel()

    def passed(_model: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        embeds = named.get("inputs_embeds")
        tokens = embeds if embeds is not None else named["input_ids"] if "input_ids" in named else given[0]
        passes = 2 if embeds is not None and embeds.requires_grad else 1
        computed(2.0 * passes * parameters * tokens.shape[0] * tokens.shape[1])

    return model.register_forward_pre_hook(passed, with_kwargs=True)
