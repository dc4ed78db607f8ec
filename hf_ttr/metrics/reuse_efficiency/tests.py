"""Cases whose results can be worked out by hand."""

test_cases = [
    {
        # A long call that gains little, and two short ones that gain much.
        "computed_tokens": [300, 50, 50],
        "total_tokens": [400, 200, 200],
        "multiply_adds": [6e9, 1e9, 1e9],
        "dense_multiply_adds": [8e9, 4e9, 4e9],
        "seconds": [8.0, 1.0, 1.0],
        "dense_seconds": [10.0, 4.0, 6.0],
        "result": {"computed_share": 0.5, "multiply_add_ratio": 2.0, "speed_up": 2.0, "median_speed_up": 4.0},
    },
    {
        # A window of a still scene, of which nothing is computed.
        "computed_tokens": [0],
        "total_tokens": [1568],
        "multiply_adds": [1e8],
        "dense_multiply_adds": [2e10],
        "seconds": [0.25],
        "dense_seconds": [1.0],
        "peak_memory": [3e8],
        "dense_peak_memory": [6e8],
        "result": {
            "computed_share": 0.0,
            "multiply_add_ratio": 200.0,
            "speed_up": 4.0,
            "median_speed_up": 4.0,
            "memory_ratio": 2.0,
        },
    },
]
