(function () {
  "use strict";
  var tip = document.getElementById("tip");
  function all(selector, root) { return Array.prototype.slice.call((root || document).querySelectorAll(selector)); }

  // ---- hover and focus: the numbers of a marker, or of the nearest vertex of a line
  function show(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    var box = tip.getBoundingClientRect();
    tip.style.left = Math.max(4, Math.min(x + 14, window.innerWidth - box.width - 4)) + "px";
    tip.style.top = (y + box.height + 24 > window.innerHeight ? Math.max(4, y - box.height - 12) : y + 14) + "px";
  }
  function hide() {
    tip.hidden = true;
    all(".near").forEach(function (ring) { ring.remove(); });
    all(".pt.on").forEach(function (mark) { mark.classList.remove("on"); });
  }
  function vertices(path) {
    if (!path.vertices) {
      path.vertices = path.getAttribute("d").slice(1).split("L").map(function (pair) { return pair.split(" ").map(Number); });
      path.told = path.dataset.told ? path.dataset.told.split("|") : [];
    }
    return path.vertices;
  }
  function value(svg, axis, place) {
    var range = svg.dataset[axis].split(" ").map(Number), box = svg.dataset.box.split(" ").map(Number);
    var share = axis === "x" ? (place - box[0]) / (box[2] - box[0]) : (box[3] - place) / (box[3] - box[1]);
    return (range[0] + share * (range[1] - range[0])).toPrecision(4);
  }
  function nearest(svg, event) {
    var matrix = svg.getScreenCTM();
    if (!matrix) { return null; }
    var at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse()), best = null;
    all("path.ln", svg).forEach(function (path) {
      if (path.classList.contains("off")) { return; }
      vertices(path).forEach(function (v, k) {
        var distance = Math.hypot(v[0] - at.x, v[1] - at.y);
        if (distance < 26 && (!best || distance < best.distance)) { best = { distance: distance, path: path, k: k, v: v }; }
      });
    });
    return best;
  }
  all("svg.chart").forEach(function (svg) {
    svg.addEventListener("pointermove", function (event) {
      hide();
      var mark = event.target.closest("[data-tip]");
      if (mark) { mark.classList.add("on"); show(mark.dataset.tip, event.clientX, event.clientY); return; }
      var found = nearest(svg, event);
      if (!found) { return; }
      var ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      ring.setAttribute("class", "near");
      ring.setAttribute("cx", found.v[0]);
      ring.setAttribute("cy", found.v[1]);
      ring.setAttribute("r", 4);
      svg.appendChild(ring);
      var lines = [found.path.dataset.series, svg.dataset.yn + " " + value(svg, "y", found.v[1]), svg.dataset.xn + " " + value(svg, "x", found.v[0])];
      if (found.path.told[found.k]) { lines.push(found.path.told[found.k]); }
      show(lines.join("\n"), event.clientX, event.clientY);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focusin", function (event) {
      var mark = event.target.closest("[data-tip]");
      if (mark) { var box = mark.getBoundingClientRect(); hide(); mark.classList.add("on"); show(mark.dataset.tip, box.right, box.bottom); }
    });
    svg.addEventListener("focusout", hide);
  });
  document.addEventListener("keydown", function (event) { if (event.key === "Escape") { hide(); } });
  ["wheel", "touchmove"].forEach(function (name) { document.addEventListener(name, hide, { passive: true }); });
  document.addEventListener("scroll", function () { // focusing a marker may scroll it into view: the tip follows
    var mark = document.activeElement;
    if (mark && mark.dataset && mark.dataset.tip && !tip.hidden) { var box = mark.getBoundingClientRect(); show(mark.dataset.tip, box.right, box.bottom); }
  }, { passive: true });

  // ---- legends switch series on and off
  function switchTo(button, on) {
    button.setAttribute("aria-pressed", String(on));
    all(".chart [data-series]", button.closest("figure")).forEach(function (part) {
      if (part.dataset.series === button.dataset.series) { part.classList.toggle("off", !on); }
    });
  }
  all(".legend button").forEach(function (button) {
    if (button.getAttribute("aria-pressed") === "false") { switchTo(button, false); }
    button.addEventListener("click", function () { switchTo(button, button.getAttribute("aria-pressed") !== "true"); });
  });

  // ---- a link to a cell opens its command
  function unfold() {
    var cell = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (cell) { all("details", cell).forEach(function (part) { part.open = true; }); }
  }
  window.addEventListener("hashchange", unfold);
  unfold();

  // ---- paper has nothing to click: what is folded is printed open
  var folded = [];
  window.addEventListener("beforeprint", function () {
    folded = all("details:not([open])");
    folded.forEach(function (part) { part.open = true; });
  });
  window.addEventListener("afterprint", function () { folded.forEach(function (part) { part.open = false; }); });

  // ---- sorting
  function key(cell) {
    if (!cell) { return ""; }
    var point = all(".pt-cell", cell).filter(function (p) { return !p.hidden; })[0];
    return point ? point.dataset.v : cell.dataset.v !== undefined ? cell.dataset.v : cell.textContent.trim();
  }
  function compare(a, b) {
    var x = parseFloat(a.replace("−", "-")), y = parseFloat(b.replace("−", "-"));
    if (!isNaN(x) && !isNaN(y) && x !== y) { return x - y; }
    return a.localeCompare(b, "en", { numeric: true });
  }
  function absent(text) { return text === "" || text === "–"; }
  function sort(table, column, direction) {
    var body = table.tBodies[0];
    Array.prototype.slice.call(body.rows)
      .map(function (row, i) { return { row: row, i: i, key: key(row.cells[column]) }; })
      .sort(function (a, b) {
        if (absent(a.key) !== absent(b.key)) { return absent(a.key) ? 1 : -1; }
        return direction * compare(a.key, b.key) || a.i - b.i;
      })
      .forEach(function (item) { body.appendChild(item.row); });
  }
  all("table.sortable").forEach(function (table) {
    all("thead button", table).forEach(function (button) {
      button.addEventListener("click", function () {
        var head = button.closest("th"), down = head.getAttribute("aria-sort") === "ascending" || (head.cellIndex > 0 && !head.hasAttribute("aria-sort"));
        all("th[aria-sort]", table).forEach(function (other) { other.removeAttribute("aria-sort"); });
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(table, head.cellIndex, down ? -1 : 1);
      });
    });
  });

  // ---- the main table's filter, task and operating point
  var matrix = document.getElementById("matrix");
  if (!matrix) { return; }
  var filter = document.getElementById("filter"), column = document.getElementById("column"), rule = document.getElementById("rule");
  function update() {
    var groups = filter.value.toLowerCase().split(",").map(function (g) { return g.split(/\s+/).filter(Boolean); });
    groups = groups.filter(function (words) { return words.length; });
    var shown = 0;
    all("[data-column]", matrix).forEach(function (cell) { cell.hidden = column.value !== "" && cell.dataset.column !== column.value; });
    if (rule) {
      all(".pt-cell", matrix).forEach(function (p) { p.hidden = p.dataset.rule !== rule.value && !("always" in p.dataset); });
    }
    Array.prototype.slice.call(matrix.tBodies[0].rows).forEach(function (row) {
      var text = row.cells[0].textContent.toLowerCase();
      var has = column.value === "" || all("td", row).some(function (cell) { return !cell.hidden && !cell.classList.contains("none"); });
      var named = !groups.length || groups.some(function (words) { return words.every(function (word) { return text.indexOf(word) >= 0; }); });
      row.hidden = !has || !named;
      shown += row.hidden ? 0 : 1;
    });
    document.getElementById("count").textContent = shown + " of " + matrix.tBodies[0].rows.length + " strategies";
  }
  filter.addEventListener("input", update);
  column.addEventListener("change", update);
  if (rule) { rule.addEventListener("change", update); }
  if (column.options.length > 2 && window.matchMedia("(max-width:40rem)").matches) { column.selectedIndex = 1; } // one task fits
  update();
})();
