"use strict";
(() => {
  const table = document.getElementById("hosts-table");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({
    row,
    text: row.textContent.toLowerCase(),
    state: row.dataset.state,
    keys: Array.from(row.cells, (cell) => cell.dataset.sort ?? cell.textContent.trim().toLowerCase()),
  }));
  const search = document.getElementById("search");
  const state = document.getElementById("state");
  const count = document.getElementById("count");

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const item of rows) {
      const matches = (!state.value || item.state === state.value) && words.every((word) => item.text.includes(word));
      item.row.hidden = !matches;
      shown += matches;
    }
    count.textContent = `${shown.toLocaleString("en")} of ${rows.length.toLocaleString("en")} hosts shown`;
  };

  const compare = (a, b) => {
    // A host without a value comes last, whatever the direction.
    if (a === "" || b === "") return a === b ? 0 : a === "" ? Infinity : -Infinity;
    const difference = Number(a) - Number(b);
    return Number.isNaN(difference) ? a.localeCompare(b, "en", { numeric: true }) : difference;
  };

  const sort = (heading) => {
    const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
    const column = heading.cellIndex;
    rows.sort((a, b) => {
      const order = compare(a.keys[column], b.keys[column]);
      return Number.isFinite(order) ? direction * order : order;
    });
    body.append(...rows.map((item) => item.row));
  };

  const buttons = new Map();
  for (const heading of table.tHead.rows[0].cells) {
    if (heading.dataset.sortable === undefined) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    button.addEventListener("click", () => sort(heading));
    heading.replaceChildren(button);
    buttons.set(heading, button);
  }
  search.addEventListener("input", filter);
  state.addEventListener("change", filter);
  document.getElementById("controls").hidden = false;
  filter();

  // Paper has nothing to open or to press, and browsers repeat no button on the next page.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    for (const item of opened) item.open = true;
    for (const [heading, button] of buttons) heading.textContent = button.textContent;
  });
  addEventListener("afterprint", () => {
    for (const item of opened) item.open = false;
    for (const [heading, button] of buttons) heading.replaceChildren(button);
  });
})();
