"""Cases whose results can be worked out by hand."""

test_cases = [
    {
        # There and back again within two seconds.
        "predictions": [[0.75, 0.25], [0.25, 0.75], [0.75, 0.25]],
        "timestamps": [0.0, 0.5, 2.0],
        "result": {
            "streams": 1,
            "seconds": 2.0,
            "label_changes_per_second": 1.0,
            "total_variation_per_second": 0.5,
            "most_frequent_label_share": 0.75,
        },
    },
    {
        # Two streams, mixed and out of order; the dense model is steady.
        "predictions": [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]],
        "references": [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]],
        "streams": ["a", "b", "a", "b"],
        "timestamps": [3.0, 0.0, 2.0, 1.0],
        "result": {
            "streams": 2,
            "seconds": 2.0,
            "label_changes_per_second": 0.5,
            "total_variation_per_second": 0.5,
            "most_frequent_label_share": 1.0,
            "dense_label_changes_per_second": 0.0,
            "dense_total_variation_per_second": 0.0,
            "dense_most_frequent_label_share": 1.0,
            "excess_label_changes_per_second": 0.5,
            "excess_total_variation_per_second": 0.5,
        },
    },
    {
        # One step has no time.
        "predictions": [[0.5, 0.5]],
        "timestamps": [7.0],
        "result": {
            "streams": 1,
            "seconds": 0.0,
            "label_changes_per_second": None,
            "total_variation_per_second": None,
            "most_frequent_label_share": None,
        },
    },
]
