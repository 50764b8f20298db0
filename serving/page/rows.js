// Tables of text. A row stays in the document while its key lives, and so does who reads it.

/**
 * Show rows in a table's body, in order.
 *
 * Each row is {key, cells}; a cell is text, or {text, kind} with the class of its content.
 */
export function showRows(table, rows) {
  const body = table.tBodies[0];
  const known = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  const numeric = [...table.tHead.rows[0].cells].map((cell) => cell.classList.contains("number"));
  rows.forEach(({ key, cells }, index) => {
    const row = known.get(key) ?? newRow(key, numeric);
    known.delete(key);
    cells.forEach((cell, column) => fill(row.cells[column], cell));
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  });
  for (const row of known.values()) row.remove();
}

function newRow(key, numeric) {
  const row = document.createElement("tr");
  row.dataset.key = key;
  numeric.forEach((isNumber, column) => {
    const cell = document.createElement(column === 0 ? "th" : "td");
    if (column === 0) cell.scope = "row";
    if (isNumber) cell.className = "number";
    row.append(cell);
  });
  return row;
}

function fill(cell, content) {
  const { text, kind = "" } = typeof content === "string" ? { text: content } : content;
  if (cell.textContent === text && (cell.firstElementChild?.className ?? "") === kind) return;
  if (!kind) {
    cell.textContent = text;
    return;
  }
  const tag = document.createElement("span");
  tag.className = kind;
  tag.textContent = text;
  cell.replaceChildren(tag);
}
