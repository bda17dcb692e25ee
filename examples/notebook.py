# %% [markdown]
# # A sweep in a notebook
# The cells below open as a notebook in Jupyter (with jupytext), VS Code and PyCharm, and run as a script:
# `python examples/notebook.py out`.

# %%
import sys

from aggregate.frames import load

sweep = load(sys.argv[1] if len(sys.argv) > 1 else "out")

# %% One row a planned cell: what became of them?
print(sweep.cells["state"].value_counts().to_string())

# %% One row a metric of a condition: a table of means, with the interval beside them
metric = sweep.conditions["metric"].iloc[0]
table = sweep.conditions[sweep.conditions["metric"] == metric]
print(metric)
print(table[["condition", "n", "mean", "ci_lower", "ci_upper"]].to_string(index=False))

# %% Paired by seed: the spread that seeds share is gone
wide = sweep.cells.pivot_table(index="seed", columns="condition", values=metric)
print((wide.sub(wide.iloc[:, 0], axis=0)).round(4).to_string())

# %% One row an epoch: the mean curve of every condition
if len(sweep.curves):
    shown = [column for column in sweep.curves.columns if column == metric] or [sweep.curves.columns[-1]]
    print(sweep.curves.groupby(["condition", "epoch"], observed=True)[shown].mean().tail(3).to_string())
