// The report's script: tables that sort, folded parts that open on paper. Without it, all there is stands there.
"use strict";
(() => {
function sortable(table) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const text = head.textContent;
    const button = document.createElement("button");
    button.type = "button"; button.textContent = text;
    head.replaceChildren(button);
    head.dataset.label = text;  // for paper: the head of a table that goes on overleaf is repeated without its buttons
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = row => {
        const said = row.cells[column].textContent.replace(/^< /, ""), value = parseFloat(said);
        return Number.isNaN(value) ? said : value;
      };
      const order = (a, b) => {  // numbers before words
        const p = key(a), q = key(b);
        if (typeof p !== typeof q) return typeof p === "number" ? -1 : 1;
        return p < q ? -1 : p > q ? 1 : 0;
      };
      body.append(...[...rows].sort((a, b) => down ? order(b, a) : order(a, b)));
    });
  });
}

// On paper nothing can be unfolded.
function unfolded() {
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const part of closed) part.open = true;
  });
  addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
}

unfolded();
for (const table of document.querySelectorAll("table.sortable")) sortable(table);
})();
