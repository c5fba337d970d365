const make = (tag, attributes, ...children) => {
  const element = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...children);
  return element;
};
const inPercent = (value) => (value === null ? missing : `${(100 * value).toFixed(0)}\u00a0%`);
const showSamples = ({ models, modalities, classes, samples, pictures }) => {
  const pageSize = 50;
  const part = document.getElementById("samples-browser");
  const the = (name) => part.querySelector(`[data-is="${name}"]`);
  const [model, query, verdict, pictured] = ["model", "query", "verdict", "pictured"].map(the);
  const [back, place, next] = ["back", "place", "next"].map(the);
  const table = part.querySelector("table");
  let rows = [], found = [], columns = [], sort = null, page = 0;

  /** A row: name, label, prediction, probability, attention, attention under noise, pictures. */
  const whole = ([i, ...read]) => [samples[i][0], samples[i][1], ...read, samples[i][2]];
  const isRight = (row) => row[1] === row[2];
  const result = (row) => (isRight(row) ? "right" : "wrong");
  const massOf = (row, list, i) => (row[list].length ? row[list][i] : null);
  const words = (name, key, cell = key) => ({ name, key, cell, isNumber: false, group: "" });
  const bar = (value, color) => {
    const filled = make("span", {});
    filled.style.width = `${100 * Math.min(1, Math.max(0, value))}%`;
    filled.style.background = color;
    return make("span", { class: "bar", "aria-hidden": "true" }, filled);
  };
  const masses = (list, group) => modalities.map(({ name, color }, i) => {
    const key = (row) => massOf(row, list, i);
    const cell = (row) => [inPercent(key(row)), key(row) === null ? "" : bar(key(row), color)];
    return { name, group, color, key, cell, isNumber: true };
  });
  const columnsOf = () => [
    words("Sample", (row) => row[0], (row) => (row[6].length ? opener(row) : row[0])),
    words("Label", (row) => classes[row[1]]),
    words("Prediction", (row) => classes[row[2]]),
    words("Result", result, (row) => make("span", { class: result(row) }, result(row))),
    { name: "Probability", group: "", key: (row) => row[3], cell: (row) => inPercent(row[3]), isNumber: true },
    ...(rows.some((row) => row[4].length) ? [...masses(4, "attention"), ...masses(5, "when it is noise")] : []),
  ];

  const opener = (row) => {
    const shown = { type: "button", class: "expand", "aria-expanded": "false", title: "Show its inputs" };
    const button = make("button", shown, row[0]);
    button.addEventListener("click", () => {
      const line = button.closest("tr");
      const isOpen = button.getAttribute("aria-expanded") === "true";
      button.setAttribute("aria-expanded", String(!isOpen));
      if (isOpen) line.nextElementSibling.remove();
      else line.after(make("tr", { class: "detail" }, make("td", { colspan: columns.length }, inputs(row))));
    });
    return button;
  };
  const inputs = (row) => make("div", { class: "pictures" }, ...row[6].map(([i, picture]) => {
    const { name } = modalities[i];
    const told = `${inPercent(massOf(row, 4, i))} of attention, ${inPercent(massOf(row, 5, i))} when it is noise`;
    const alt = `Input ${name} of ${row[0]}, labelled ${classes[row[1]]}`;
    const image = make("img", { alt, src: `data:image/png;base64,${pictures[picture]}` });
    return make("figure", {}, image, make("figcaption", {}, row[4].length ? `${name}: ${told}` : name));
  }));

  const head = ({ name, color, isNumber }) => {
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = color || "";
    return make("th", { scope: "col", class: isNumber ? "" : "word" }, ...(color ? [swatch, name] : [name]));
  };
  const showHeads = () => {
    const groups = [];
    for (const { group } of columns) {
      const last = groups[groups.length - 1];
      if (last && last.name === group) last.colspan += 1;
      else groups.push({ name: group, colspan: 1 });
    }
    const over = groups.map(({ name, colspan }) =>
      name ? make("th", { scope: "colgroup", colspan }, name) : make("td", { colspan }));
    const heads = columns.map(head);
    table.tHead.replaceChildren(make("tr", { class: "groups" }, ...over), make("tr", {}, ...heads));
    makeSortable(heads, (column) => columns[column].isNumber, (column, sign) => {
      sort = { key: columns[column].key, sign };
      show(0);
    });
  };
  const fits = (row) => {
    const text = [row[0], classes[row[1]], classes[row[2]]].join("\n").toLowerCase();
    const isChosen = verdict.value === "all" || verdict.value === result(row);
    const hasPicture = row[6].length > 0 || !pictured || !pictured.checked;
    return isChosen && hasPicture && text.includes(query.value.trim().toLowerCase());
  };
  const told = (first, last) => {
    if (!found.length) return `No sample fits, of ${rows.length}: clear the search, or show right and wrong.`;
    const all = found.length === rows.length ? "" : ` that fit, of ${rows.length}`;
    const right = found.filter(isRight).length;
    return `Samples ${first + 1} to ${last} of ${found.length}${all}: ${right} right, ${found.length - right} wrong.`;
  };
  const line = (row) => make("tr", {}, ...columns.map(({ cell, isNumber }, i) => {
    const content = [cell(row)].flat();
    return i ? make("td", { class: isNumber ? "" : "word" }, ...content) : make("th", { scope: "row" }, ...content);
  }));
  const show = (wanted) => {
    found = rows.filter(fits);
    if (sort) found.sort((first, second) => ordered(sort.key(first), sort.key(second), sort.sign));
    const last = Math.max(0, Math.ceil(found.length / pageSize) - 1);
    page = Math.min(Math.max(wanted, 0), last);
    const shown = found.slice(page * pageSize, (page + 1) * pageSize);
    table.tBodies[0].replaceChildren(...shown.map(line));
    table.parentElement.scrollTop = 0;
    the("status").textContent = told(page * pageSize, page * pageSize + shown.length);
    place.textContent = `Page ${page + 1} of ${last + 1}`;
    place.parentElement.hidden = last === 0;
    back.setAttribute("aria-disabled", String(page === 0));
    next.setAttribute("aria-disabled", String(page === last));
  };
  const choose = () => {
    const { rows: all, summary } = models[model ? model.selectedIndex : 0];
    the("about").textContent = summary;
    [rows, sort] = [all.map(whole), null];
    columns = columnsOf();
    showHeads();
    show(0);
  };

  if (model) {
    model.selectedIndex = Math.max(0, models.findIndex(({ rows: all }) => all.some(([, , , masses]) => masses.length)));
    model.addEventListener("change", choose);
  }
  query.addEventListener("input", () => show(0));
  [verdict, pictured].forEach((control) => control && control.addEventListener("change", () => show(0)));
  back.addEventListener("click", () => show(page - 1));
  next.addEventListener("click", () => show(page + 1));
  part.hidden = false;
  choose();
};
const samplesData = document.getElementById("samples-data");
if (samplesData) showSamples(JSON.parse(samplesData.textContent));
