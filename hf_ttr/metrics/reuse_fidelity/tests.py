"""Cases whose results can be worked out by hand."""

test_cases = [
    {
        # Nothing differs.
        "predictions": [[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]],
        "references": [[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]],
        "result": {
            "clips": 2,
            "top_1_agreement": 1.0,
            "top_1_agreement_high": 1.0,
            "top_5_agreement": 1.0,
            "kl_divergence": 0.0,
            "kl_divergence_p95": 0.0,
            "relative_logit_error": 0.0,
        },
    },
    {
        # One clip, two classes: probabilities 0.75 and 0.25 where the dense model has 0.5 and 0.5.
        "predictions": [[1.0986122886681098, 0.0]],
        "references": [[0.0, 0.0]],
        "result": {
            "clips": 1,
            "top_1_agreement": 1.0,
            "kl_divergence": 0.14384103622589042,
            "kl_divergence_p95": 0.14384103622589042,
            "relative_logit_error": None,
        },
    },
    {
        # Both right, reuse alone right, the dense model alone right, neither.
        "predictions": [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]],
        "references": [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]],
        "labels": [0, 1, 1, 1],
        "result": {
            "top_1_agreement": 0.5,
            "relative_logit_error": 1.0,
            "accuracy": 0.5,
            "dense_accuracy": 0.5,
            "accuracy_difference": 0.0,
        },
    },
]
