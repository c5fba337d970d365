const missing = "\u2013";
/** Orders two keys; a key that is missing (null) stays last whatever the direction. */
const ordered = (first, second, sign) => {
  if (first === null || second === null) return (first === null) - (second === null);
  if (typeof first === "number" && typeof second === "number") return sign * (first - second);
  return sign * String(first).localeCompare(String(second), undefined, { numeric: true });
};
/** Makes a button of every head; numbers come down first, words up. */
const makeSortable = (heads, isNumber, onSort) => {
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const isDown = before ? before === "ascending" : isNumber(column);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
      onSort(column, isDown ? -1 : 1);
    });
  });
};
const cellKey = (cell) => {
  const text = cell.textContent.trim();
  if ("value" in cell.dataset) return Number(cell.dataset.value);
  return text === "" || text === missing ? null : text;
};
for (const table of document.querySelectorAll("table[data-sortable]")) {
  const body = table.tBodies[0];
  const keysOf = (column) => Array.from(body.rows, (row) => [cellKey(row.cells[column]), row]);
  makeSortable(
    Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells),
    (column) => keysOf(column).some(([key]) => typeof key === "number"),
    (column, sign) => {
      const pairs = keysOf(column).sort((first, second) => ordered(first[0], second[0], sign));
      body.append(...pairs.map((pair) => pair[1]));
    },
  );
}
