"""A model trained with PyTorch predicts on private data, and stays private itself.

Usage: python examples/torch_private_predictions.py [protocol [device]]

One party has a trained network, another has images. Neither sees what the other has; what is
revealed are the classes of the images. Needs PyTorch.
"""

import sys

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import he_gpu as he


def pretrained(X, y):
    """Return a small convolutional network trained in the clear."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 32), nn.GELU(), nn.Dropout(0.1), nn.Linear(32, 10),
    )  # fmt: skip
    adam, loss = torch.optim.Adam(model.parameters(), lr=0.01), nn.CrossEntropyLoss()
    for _ in range(5):
        for x, target in zip(X.split(64), y.split(64), strict=True):
            adam.zero_grad()
            loss(model(x), target).backward()
            adam.step()
    return model.eval()


def main(protocol="additive", device="auto"):
    """Return the accuracy on shares and in the clear, and the share of equal predictions."""
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X.reshape(-1, 1, 8, 8) / 16, y, random_state=0)
    theirs = pretrained(torch.tensor(X, dtype=torch.float32), torch.tensor(y))
    with torch.no_grad():
        clear = theirs(torch.tensor(X_test, dtype=torch.float32)).numpy().argmax(axis=1)

    with he.Session(protocol, device=device) as session, he.nn.no_grad():
        model = he.nn.from_torch(theirs).share(session)
        scores = model(session.share(X_test, owner=session.parties[-1]))
        predicted = scores.value.argmax(axis=1).reveal()  # the classes, not the scores

    found = [float((classes == y_test).mean()) for classes in (predicted, clear)]
    equal = float((predicted == clear).mean())
    print(f"accuracy on shares:     {found[0]:.3f}")
    print(f"accuracy of PyTorch:    {found[1]:.3f}")
    print(f"predictions that agree: {equal:.1%} of {len(clear)}")
    return *found, equal


if __name__ == "__main__":
    main(*sys.argv[1:])
