"""Logistic regression on the breast cancer data: one party has the features, one the labels.

Usage: python examples/logistic_regression.py [protocol [device]]

Nothing is revealed but the accuracy on data that the model has not seen, and, as it is fitted, the
loss of each iteration. scikit-learn fits the same data in the clear.
"""

import sys

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import he_gpu as he


def main(protocol="additive", device="auto"):
    """Return the accuracy on shares and in the clear."""
    X, y = load_breast_cancer(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.2, random_state=42)
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)

    with he.Session(protocol, device=device) as session:
        clinic, laboratory = session.parties[0], session.parties[-1]
        model = he.LogisticRegression()
        model.fit(session.share(X, owner=laboratory), session.share(y, owner=clinic))
        private = model.score(session.share(X_test, laboratory), session.share(y_test, clinic))
        cost = session.cost

    clear = LogisticRegression().fit(X, y).score(X_test, y_test)
    print(f"accuracy on shares:    {private:.3f}")
    print(f"accuracy in the clear: {clear:.3f}")
    print(f"{protocol}: {cost.rounds} rounds, {cost.bytes_sent / 1e6:.1f} MB sent by each party")
    return private, clear


if __name__ == "__main__":
    main(*sys.argv[1:])
