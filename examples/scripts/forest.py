"""A scikit-learn script, as people write them: it knows nothing of Holdfast."""

import argparse
import csv

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

parser = argparse.ArgumentParser()
parser.add_argument("--trees", type=int, default=100)
parser.add_argument("--criterion", default="gini")
parser.add_argument("--random-state", type=int, default=0)
args = parser.parse_args()

x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.3, random_state=args.random_state)
model = RandomForestClassifier(args.trees, criterion=args.criterion, random_state=args.random_state, n_jobs=1)
guess = model.fit(x_train, y_train).predict(x_test)
with open("scores.csv", "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(["accuracy", "macro f1"])
    writer.writerow([(guess == y_test).mean(), f1_score(y_test, guess, average="macro")])
