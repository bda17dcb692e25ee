"""A scikit-learn model that is fitted in one go, so there is nothing to save or restore.

It measures how well a random forest classifies scikit-learn's handwritten digits, by number and depth of its trees.
"""

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

FACTORS = {
    "trees": {"kind": "integer", "minimum": 1, "log": True},
    "depth": {"kind": "integer", "minimum": 1},
}
METRICS = {"accuracy": {"kind": "bounded", "better": "higher", "chance": 0.1}}


def train(cells, options, run):
    images, labels = load_digits(return_X_y=True)
    for cell in cells:
        parts = train_test_split(images, labels, test_size=options["test_share"], random_state=cell.seed)
        train_images, test_images, train_labels, test_labels = parts
        forest = RandomForestClassifier(cell.factors["trees"], max_depth=cell.factors["depth"], random_state=cell.seed)
        forest.fit(train_images, train_labels)
        run.finish(cell, {"accuracy": forest.score(test_images, test_labels)})
