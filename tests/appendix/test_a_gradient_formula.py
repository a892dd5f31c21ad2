import pandas as pd

from irlg.appendix.a_gradient_formula import claims, gradient_errors


def test_errors_stay_at_the_rounding_of_each_oracle():
    errors = gradient_errors([2, 50, 500], seed=1).set_index(["dtype", "oracle"]).error
    assert errors["float64", "autograd"].max() < 1e-14
    assert errors["float32", "autograd"].max() < 1e-5
    assert errors["float64", "central differences"].max() < 1e-8
    assert errors["float32", "central differences"].max() < 1e-2


def test_claims():
    errors = pd.DataFrame(
        {"C": [2, 9] * 2, "dtype": "float64", "oracle": ["autograd"] * 2 + ["central differences"] * 2}
    )
    derived, measured = claims(errors.assign(error=[1e-16, 3e-15, 1.0, 1.0]), 3)
    assert derived.ours == "derived; 3 printed terms set right"
    assert (measured.ours, measured.n, measured.verdict) == ("3.0e-15 relative", 2, "holds")
    assert measured.interval == "largest of C = 2 … 9"
    assert claims(errors.assign(error=1e-12), 3)[1].verdict == "fails"
