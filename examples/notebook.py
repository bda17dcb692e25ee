# %% [markdown]
# # A sweep in a notebook
# The cells below open as a notebook in Jupyter (with jupytext), VS Code and PyCharm, and run as a script:
# `python examples/notebook.py out`.

# %%
import sys

from aggregate.frames import load

sweep = load(sys.argv[1] if len(sys.argv) > 1 else "out")

# %% One row per planned cell: how many are in each state?
print(sweep.cells["state"].value_counts().to_string())

# %% One row per condition and metric: a table of means with their intervals
metric = sweep.conditions["metric"].iloc[0]
table = sweep.conditions[sweep.conditions["metric"] == metric]
print(metric)
print(table[["condition", "n", "centre", "centre_lower", "centre_upper"]].to_string(index=False))

# %% Differences paired by seed, without the variation that conditions share
wide = sweep.cells.pivot_table(index="seed", columns="condition", values=metric)
print(f"minus {wide.columns[0]}:")
print((wide.sub(wide.iloc[:, 0], axis=0)).round(4).to_string())

# %% One row per epoch of each cell: the mean curve of every condition
if len(sweep.curves):
    shown = [column for column in sweep.curves.columns if column == metric] or [sweep.curves.columns[-1]]
    print(sweep.curves.groupby(["condition", "epoch"], observed=True)[shown].mean().tail(3).to_string())
