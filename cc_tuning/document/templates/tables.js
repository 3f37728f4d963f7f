"use strict";
// Tables that are sorted by a click or a key on their headers, and filters over all of them.
{
  const textOf = (cell) => cell.firstChild ? cell.firstChild.textContent : "";
  const compareTexts = new Intl.Collator("en", { numeric: true }).compare;

  const keyOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };

  const numberIn = (text) => {
    const plain = text.replace(/[,\s\u00a0▲▼]/g, "").replace("−", "-");
    return /^[+-]?\d+(\.\d+)?(e[+-]?\d+)?%?$/.test(plain) ? parseFloat(plain) : null;
  };

  const sortBy = (table, column, order) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => {
      const text = textOf(row.cells[column]);
      const own = keyOf(row, column);
      return { row, text, number: own === null ? numberIn(text) : own };
    });
    const areNumbers = rows.some((at) => at.number !== null);
    rows.sort((a, b) => {
      if (!areNumbers) return order * compareTexts(a.text, b.text);
      // What was not measured stands at the end in both orders.
      if (a.number === null || b.number === null) return (a.number === null) - (b.number === null);
      return order * (a.number - b.number);
    });
    body.append(...rows.map((at) => at.row));
  };

  const makeSortable = (table) => {
    const original = [...table.tBodies[0].rows];
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        // Numbers are first shown from the highest, names from the first; a third click restores the first order.
        const first = header.classList.contains("number") ? "descending" : "ascending";
        const second = first === "ascending" ? "descending" : "ascending";
        const now = { [first]: second, [second]: null }[header.getAttribute("aria-sort")];
        const next = now === undefined ? first : now;
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        if (next === null) {
          table.tBodies[0].append(...original);
        } else {
          header.setAttribute("aria-sort", next);
          sortBy(table, column, next === "ascending" ? 1 : -1);
        }
      });
    });
  };

  const hideColumns = (table, isHidden) => {
    const hidden = [...table.tHead.rows[0].cells].map(isHidden);
    if (!hidden.some(Boolean) && !table.dataset.filtered) return;
    table.dataset.filtered = "yes";
    for (const row of table.rows) [...row.cells].forEach((cell, at) => { cell.hidden = hidden[at]; });
  };

  const bar = document.querySelector(".filters");
  const facets = bar ? [...bar.querySelectorAll(".facet")] : [];

  const applyFilters = () => {
    const off = new Map();
    for (const facet of facets) {
      const boxes = [...facet.querySelectorAll("input")];
      const closed = boxes.filter((box) => !box.checked);
      off.set(facet.dataset.facet, new Set(closed.map((box) => box.value)));
      facet.querySelector(".chosen").textContent =
        closed.length ? ` ${boxes.length - closed.length} of ${boxes.length}` : "";
    }
    const isHidden = (element) => [...off].some(([key, values]) => values.has(element.dataset[key]));
    let shown = 0, all = 0;
    for (const table of document.querySelectorAll("main table")) {
      hideColumns(table, isHidden);
      for (const row of table.tBodies[0].rows) {
        row.hidden = isHidden(row);
        all += 1;
        shown += !row.hidden;
      }
    }
    bar.querySelector(".reset").hidden = [...off.values()].every((values) => values.size === 0);
    bar.querySelector(".status").textContent = shown === all ? "" : `${shown} of ${all} rows shown`;
  };

  document.querySelectorAll("main table").forEach(makeSortable);
  if (bar) {
    bar.hidden = false;
    bar.addEventListener("change", applyFilters);
    bar.querySelector(".reset").addEventListener("click", () => {
      for (const box of bar.querySelectorAll("input")) box.checked = true;
      applyFilters();
    });
    document.addEventListener("keydown", (event) => {
      const open = facets.find((facet) => facet.open && event.key === "Escape");
      if (open) {
        open.open = false;
        open.querySelector("summary").focus();
      }
    });
    document.addEventListener("click", (event) => {
      for (const facet of facets) if (!facet.contains(event.target)) facet.open = false;
    });
    applyFilters();
  }

  // What is folded on the screen is open on paper.
  addEventListener("beforeprint", () => {
    for (const at of document.querySelectorAll("main details:not([open])")) {
      at.open = true;
      at.dataset.printed = "yes";
    }
  });
  addEventListener("afterprint", () => {
    for (const at of document.querySelectorAll("main details[data-printed]")) {
      at.open = false;
      delete at.dataset.printed;
    }
  });
}
