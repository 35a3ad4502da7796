(() => {
  "use strict";
  const PAGE = 50;
  const find = (query) => document.querySelector(query);
  const all = (query, within = document) => Array.from(within.querySelectorAll(query));
  document.documentElement.classList.add("js");
  const table = find("#case-table");
  if (!table) return;
  const selects = all("select[data-filter]");
  const search = find("#search");
  const status = find("#count");
  const pager = find("#pager");
  const every = find("#reveal-all");
  const packed = all("script[data-block]").map((block) => block.textContent);
  const number = (n) => n.toLocaleString("en-US");

  // The first block says of all cases what the filters need; each further one holds the texts of index.size cases.
  const unpack = async (block) => {
    const text = atob(block);
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  };
  const texts = [];
  const words = [];
  const block = (place) => (texts[place] ??= unpack(packed[place + 1]));
  const haystack = async (place) => {
    if (!words[place]) {
      words[place] = (await block(place)).map(([id, , , prompt, answer, end, error, hint]) =>
        [id, ...[...prompt, ...answer].map((part) => part[1]), ...end, error, hint].join("\n").toLowerCase());
    }
    return words[place];
  };

  let index = null;
  let matching = [];
  let page = 0;
  let turn = 0;

  const element = (tag, name, text) => {
    const made = document.createElement(tag);
    made.className = name;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const fill = (cell, parts) => {
    let into = cell;
    if (parts.length && every) {
      const box = cell.appendChild(element("div", "box"));
      into = box.appendChild(element("div", "veil"));
      if (!every.checked) into.setAttribute("aria-hidden", "true");
      box.append(element("span", "cover", `hidden, ${number(parts.reduce((sum, part) => sum + part[3], 0))} characters`));
    }
    for (const [label, text, note] of parts) {
      if (label) into.append(element("div", "l", label));
      if (text) into.appendChild(element("div", "t", text)).dir = "auto";
      if (note) into.append(element("div", "m", note));
    }
  };
  const show = (row, open) => {
    for (const veil of all(".veil", row)) open ? veil.removeAttribute("aria-hidden") : veil.setAttribute("aria-hidden", "true");
    const act = row.querySelector(".act");
    if (act) act.textContent = open ? "Hide text" : "Show text";
  };
  const measured = (at) => index.cells[index.cell[at]][5];
  const word = (at) => index.words[measured(at)][index.outcome[at]];
  const drawn = (at, [id, draw, facts, prompt, answer, end, error, hint]) => {
    const row = find("#case-row").content.firstElementChild.cloneNode(true);
    const [target, defense, attack, , draws] = index.cells[index.cell[at]];
    const outcome = index.outcomes[index.outcome[at]];
    const chip = row.querySelector(".chip");
    chip.textContent = word(at);
    chip.classList.add(`o-${word(at) === index.words[0][index.outcome[at]] ? outcome : word(at)}`);
    row.querySelector(".id").textContent = id;
    row.querySelector(".category").textContent = index.categories[index.category[at]];
    const behind = defense === "none" ? "" : ` behind ${defense}`;
    row.querySelector(".whom").textContent = `${attack} on ${target}${behind}${draws > 1 && draw !== null ? `, draw ${draw}` : ""}`;
    row.querySelector(".did").textContent = facts.join(", ");
    const button = row.querySelector(".reveal");
    if (button) {
      button.querySelector(".sr").textContent = ` of ${id}, ${attack}`;
      if (!prompt.length && !answer.length) button.remove();
    }
    fill(row.cells[2], prompt);
    fill(row.cells[3], answer);
    for (const text of end) row.cells[3].append(element("div", "m", text));
    if (error) {
      const fault = row.cells[3].appendChild(element("div", "fault", error));
      if (hint) fault.append(element("div", "m", hint));
    }
    if (every) show(row, every.checked);
    return row;
  };

  const rowOf = async (at) => drawn(at, (await block(Math.floor(at / index.size)))[at % index.size]);
  const drawWorst = async () => {
    const worst = find("#worst-table");
    if (!worst) return;
    const rows = await Promise.all(index.worst.map(([at]) => rowOf(at)));
    rows.forEach((row, place) => row.cells[1].append(element("div", "m", index.worst[place][1])));
    worst.tBodies[0].replaceChildren(...rows);
  };

  const draw = async () => {
    const mine = ++turn;
    const last = Math.max(0, Math.ceil(matching.length / PAGE) - 1);
    page = Math.min(Math.max(page, 0), last);
    const shown = matching.slice(page * PAGE, (page + 1) * PAGE);
    const rows = await Promise.all(shown.map(rowOf));
    if (mine !== turn) return;
    table.tBodies[0].replaceChildren(...rows);
    const first = page * PAGE;
    const total = index.cell.length;
    const some = shown.length < matching.length ? `${number(first + 1)}\u2013${number(first + shown.length)} of ` : "";
    status.textContent = matching.length === 0 ? "No case fits these filters." :
      `${some}${number(matching.length)}${matching.length < total ? ` matching, of ${number(total)}` : ""} ${total === 1 ? "case" : "cases"}`;
    pager.hidden = last === 0;
    find("#page").textContent = `page ${number(page + 1)} of ${number(last + 1)}`;
    for (const button of all("button", pager)) {
      button.disabled = ["first", "previous"].includes(button.dataset.step) ? page === 0 : page === last;
    }
    table.dataset.ready = mine;
  };
  const filter = async () => {
    const mine = ++turn;
    const wanted = search.value.trim().toLowerCase();
    const chosen = selects.filter((select) => select.value !== "").map((select) => [select.dataset.filter, select.value]);
    const place = { target: 0, defense: 1, attack: 2, suite: 3 };
    const found = [];
    if (wanted && words.filter(Boolean).length < packed.length - 1) status.textContent = "Reading all texts \u2026";
    for (let at = 0; at < index.cell.length; at += 1) {
      const fits = chosen.every(([name, value]) =>
        name === "outcome" ? `${index.measures[measured(at)]}:${word(at)}` === value :
        name === "category" ? index.categories[index.category[at]] === value :
        index.cells[index.cell[at]][place[name]] === value);
      if (fits && wanted) {
        const words = await haystack(Math.floor(at / index.size));
        if (mine !== turn) return;
        if (!words[at % index.size].includes(wanted)) continue;
      }
      if (fits) found.push(at);
    }
    matching = found;
    page = 0;
    await draw();
  };

  selects.forEach((select) => select.addEventListener("change", filter));
  let soon = 0;
  search.addEventListener("input", () => { clearTimeout(soon); soon = setTimeout(filter, 150); });
  find("#clear").addEventListener("click", () => {
    selects.forEach((select) => { select.value = ""; });
    search.value = "";
    filter();
  });
  pager.addEventListener("click", async (event) => {
    const step = event.target.closest("button")?.dataset.step;
    if (!step) return;
    page = { first: 0, previous: page - 1, next: page + 1, last: Infinity }[step];
    if (page === Infinity) page = Math.ceil(matching.length / PAGE) - 1;
    await draw();
    find("#cases").scrollIntoView();
  });
  const tables = all("table.cases");
  for (const listed of tables) listed.addEventListener("click", (event) => {
    const button = event.target.closest("button.reveal");
    if (!button) return;
    const row = button.closest("tr");
    show(row, row.querySelector(".veil[aria-hidden]") !== null);
  });
  if (every) every.addEventListener("change", () => tables.forEach((listed) =>
    Array.from(listed.tBodies[0].rows).forEach((row) => show(row, every.checked))));
  all("a.pick").forEach((link) => link.addEventListener("click", () => {
    selects.forEach((select) => {
      const value = link.getAttribute("data-" + select.dataset.filter);
      select.value = value !== null && Array.from(select.options).some((option) => option.value === value) ? value : "";
    });
    search.value = "";
    filter();
  }));
  (async () => {
    try {
      index = await unpack(packed[0]);
    } catch {
      status.textContent = "This browser cannot unpack the cases; one of 2023 or later can.";
      return;
    }
    await drawWorst();
    await filter();
  })();
})();
