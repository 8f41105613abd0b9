"""A small LeNet on 8 x 8 handwritten digits, with the layers and the training loop of `he.nn`.

Usage: python examples/digits_lenet.py [protocol [device]]

One function trains on shares and in the clear: what is secret stays secret, arrays stay arrays.
"""

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import he_gpu as he
from he_gpu import nn

EPOCHS = 8


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, random_state=0),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 3, random_state=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 32, random_state=2),
        nn.ReLU(),
        nn.Linear(32, 10, random_state=3),
    )


def accuracies(model, X, y, X_test, y_test):
    """Train a model; return its accuracy on the test data after each epoch."""
    loss, sgd = nn.CrossEntropyLoss(), nn.SGD(model.parameters(), lr=0.05, momentum=0.9)
    rate, metrics = nn.CosineAnnealingLR(sgd, EPOCHS), {"accuracy": nn.accuracy}
    trainer = nn.Trainer(model, loss, sgd, random_state=0, schedule=rate, metrics=metrics)
    trainer.fit(X, y, epochs=EPOCHS, validation=(X_test, y_test))
    return trainer.metrics_["accuracy"]


def main(protocol="additive", device="auto"):
    """Return the accuracy on shares and in the clear."""
    X, y = load_digits(return_X_y=True)
    images, hot = X.reshape(-1, 1, 8, 8) / 16, np.eye(10)[y]
    X, X_test, y, y_test = train_test_split(images, hot, test_size=0.2, random_state=0)

    with he.Session(protocol, device=device) as session:
        secret = [session.share(part) for part in (X, y, X_test, y_test)]
        private = accuracies(lenet().share(session), *secret)

    clear = accuracies(lenet(), X, y, X_test, y_test)
    for name, curve in (("on shares", private), ("in the clear", clear)):
        print(f"accuracy {name:12}: " + " ".join(f"{value:.3f}" for value in curve))
    return private[-1], clear[-1]


if __name__ == "__main__":
    main(*sys.argv[1:])
