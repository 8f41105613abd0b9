"""A multi-layer perceptron on handwritten digits, images and labels both secret.

Usage: python examples/digits_mlp.py [protocol [device]]

scikit-learn's MLPClassifier takes the same steps in the clear: same parameters, same first weights,
same batches. The loss of each epoch is revealed and ends the training when it falls no more.
"""

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import he_gpu as he

PARAMETERS = {
    "hidden_layer_sizes": (32,),
    "solver": "sgd",
    "learning_rate_init": 0.1,
    "batch_size": 64,
    "tol": 0.01,
    "n_iter_no_change": 1,
    "shuffle": False,
    "random_state": 0,
}


def main(protocol="additive", device="auto"):
    """Return the accuracy on shares and in the clear."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=0.2, random_state=0)

    with he.Session(protocol, device=device) as session:
        model = he.MLPClassifier(**PARAMETERS)
        model.fit(session.share(X), session.share(np.eye(10)[y]))  # labels as one-hot rows
        private = model.score(session.share(X_test), session.share(np.eye(10)[y_test]))

    clear = MLPClassifier(**PARAMETERS).fit(X, y)
    for name, curve in (("on shares", model.loss_curve_), ("in the clear", clear.loss_curve_)):
        print(f"loss {name:12}: " + " ".join(f"{loss:.3f}" for loss in curve))
    print(f"accuracy on shares:    {private:.3f}")
    print(f"accuracy in the clear: {clear.score(X_test, y_test):.3f}")
    return private, clear.score(X_test, y_test)


if __name__ == "__main__":
    main(*sys.argv[1:])
